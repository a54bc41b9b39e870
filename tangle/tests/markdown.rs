//! Markdown that nobody wrote for tangle passes through the preprocessor as it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mdbook_preprocessor::MDBOOK_VERSION;
use serde_json::{Value, json};

/// The chapters that come out when `chapters` go in.
fn woven(renderer: &str, chapters: &[String]) -> Result<Vec<String>, String> {
    let items: Vec<_> = chapters
        .iter()
        .enumerate()
        .map(|(number, content)| {
            let path = format!("{number}.md");
            json!({"Chapter": {
                "name": path, "content": content, "number": [1], "sub_items": [],
                "path": path, "source_path": path, "parent_names": []
            }})
        })
        .collect();
    let config = json!({"book": {"src": "src"}});
    let input = json!([
        {"root": "/nowhere", "config": config, "renderer": renderer, "mdbook_version": MDBOOK_VERSION},
        {"items": items}
    ]);
    let mut output = Vec::new();
    tangle::preprocessor::run(input.to_string().as_bytes(), &mut output, Vec::new())?;
    let book: Value = serde_json::from_slice(&output).unwrap();
    let chapters = book["items"].as_array().unwrap().iter().take(chapters.len());
    Ok(chapters
        .map(|item| item["Chapter"]["content"].as_str().unwrap().to_owned())
        .collect())
}

/// Each of `texts` is a chapter, alone with the others and beside a program.
fn pass_unchanged(texts: &[String]) {
    let program = "```rust file=a.rs\n<<part>>\n```\n\n```rust #part\nfn main() {}\n```\n";
    let mut beside = texts.to_vec();
    beside.push(program.to_owned());
    for renderer in ["html", "markdown", "test", "another"] {
        for chapters in [texts, &beside] {
            let woven = woven(renderer, chapters).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            for (before, after) in texts.iter().zip(&woven) {
                assert_eq!(before, after, "{renderer}");
            }
        }
    }
}

/// What cargo says.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}: {said}", args.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// The sources of pulldown-cmark, whose tests hold the examples of the specification and many more.
fn pulldown_cmark() -> PathBuf {
    let version = cargo(&["--version", "--verbose"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    // It describes the whole workspace, of which only what this test needs has certainly been downloaded: it may fetch the rest,
    // but no packages for other platforms.
    let metadata = ["metadata", "--format-version=1", "--filter-platform", host];
    let metadata = cargo(&[&metadata[..], &["--manifest-path", manifest]].concat());
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "pulldown-cmark");
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    PathBuf::from(manifest).with_file_name("")
}

/// The Markdown in a file of these tests: `let original = r##"..."##;`.
fn examples(tests: &str) -> Vec<String> {
    tests
        .split("let original = r##\"")
        .skip(1)
        .map(|rest| rest.split_once("\"##;").unwrap().0.to_owned())
        .collect()
}

#[test]
fn the_examples_of_commonmark_and_of_its_extensions() {
    let suite = pulldown_cmark().join("tests/suite");
    let mut texts = Vec::new();
    for file in fs::read_dir(suite).unwrap() {
        let file = file.unwrap().path();
        let found = examples(&fs::read_to_string(&file).unwrap());
        assert!(!file.ends_with("spec.rs") || found.len() > 600, "{}", found.len());
        texts.extend(found);
    }
    pass_unchanged(&texts);
    let windows: Vec<_> = texts.iter().map(|text| text.replace('\n', "\r\n")).collect();
    pass_unchanged(&windows);
    let unended: Vec<_> = texts.iter().map(|text| text.trim_end().to_owned()).collect();
    pass_unchanged(&unended);
}

#[test]
fn what_other_books_hold() {
    let texts = [
        "",
        "\n",
        "\r\n\r\n",
        "no end of line",
        "\u{feff}# After a byte order mark\n",
        "---\ntitle: not ours\nruns: maybe\n---\n\n# A\n",
        "+++\ntitle = \"not ours\"\n+++\n",
        "---\nruns: true\nmore: than that\n---\n",
        "# A {#id .class key=value}\n\n## `<<code>>` {#two}\n",
        "<<nothing>>\n\n    <<indented>>\n\n`<<inline>>` and << 1 >> 2\n",
        "```\n<<an example>>\n```\n\n```rust\n<<another>>\n# hidden\n## shown\n```\n",
        "```rust,ignore,should_panic\nfn main() {}\n```\n\n```rust,editable,edition2021\n```\n",
        "```sh # a comment, not a name\nls\n```\n\n```c title=\"x\" linenos\n```\n\n```rust {3,5}\n```\n",
        "~~~~text\n```rust #inside file=of.rs\n~~~\n```\n~~~~\n",
        "````markdown\n```rust #shown\n<<only>>\n```\n````\n",
        "    ```rust #indented\n    code\n    ```\n",
        "<!--\n```rust #commented\n-->\n\n<pre>\n```rust #raw\n</pre>\n\n<div>\n\n*inside*\n\n</div>\n",
        "<script>\nif (a << b) { }\n```rust #x\n</script>\n",
        "{{#include file.rs:3:5}}\n{{#rustdoc_include a.rs:anchor}}\n{{#playground x.rs editable}}\n{{#title T}}\n\\{{#include escaped}}\n",
        "A note[^1].\n\n[^1]: With code:\n\n    ```rust\n    x\n    ```\n",
        "| a | b |\n|---|:-:|\n| `x \\| y` | <<z>> |\n\n- [ ] task\n- [x] done\n\n~~gone~~\n\nterm\n: definition\n",
        "> [!NOTE]\n> quoted\n>\n> ```rust\n> code\n> ```\n",
        "1. a\n\n   ```sh\n   code\n   ```\n2. b\n\n\t```\n\ttab\n\t```\n",
        "Hard\\\nbreak  \nand &amp; &#35; &unknown; \\#\\` \u{a0}\u{2028}\u{85}\u{1f600}e\u{301}\n",
        "\u{0}\u{1}\u{7f}\u{fffd}\n",
        "lone\rcarriage\r\rreturns\n",
        "\t\t\n \t \n",
        "```rust\nnothing closes this\n",
        "~~~\n```\n",
        "- ```\n  nor this\n\ntext\n",
        "```math\n\\frac{a}{b}\n```\n$$x$$ \\\\(y\\\\) [link][ref] ![i](i.png \"t\")\n\n[ref]: <a b> 'title'\n",
        "Setext\n===\n\nother\n---\n***\n___\n",
    ];
    pass_unchanged(&texts.map(str::to_owned));
}

#[test]
fn an_open_fence_that_hides_fragments_is_a_mistake() {
    let text = "~~~text\nnothing closes this\n\n```rust file=a.rs\nfn main() {}\n```\n";
    let mistakes = woven("html", &["```rust file=x.rs\n```\n".to_owned(), text.to_owned()]).unwrap_err();
    assert!(mistakes.contains("nothing closes this fence"), "{mistakes}");
}
