use super::*;

fn weave(target: Target, chapters: &[(&str, &str)]) -> (Vec<String>, Vec<Extra>) {
    let book = Book::new(chapters.iter().map(|(path, text)| (format!("src/{path}"), *text)));
    let program = crate::program(&book).expect("the book has no mistakes");
    let pages: Vec<_> = chapters
        .iter()
        .map(|(path, _)| Page {
            path: (*path).to_owned(),
            title: format!("About {path}"),
        })
        .collect();
    let weaver = Weaver::new(&book, &program, &pages, target);
    let woven = (0..chapters.len()).map(|source| weaver.chapter(source)).collect();
    (woven, weaver.appendix())
}

const FILE: (&str, &str) = (
    "a.md",
    "Text\n```rust file=d/x.rs\nfn x() {\n    <<the <b> part>>\n}\n```\nMore\n",
);
const PART: (&str, &str) = (
    "sub/b.md",
    "```rust,editable #the <b> part\n1;\n```\n\n```rust #the <b> part +=\n2;\n3;\n```\n",
);

#[test]
fn a_fence_is_wrapped_and_keeps_its_text() {
    let (woven, _) = weave(Target::Html, &[FILE, PART]);
    assert_eq!(
        woven[0],
        "Text\n<div class=\"tangle\" id=\"file-d-x-rs\">\n<div class=\"tangle-head\"><a class=\"tangle-name\" \
         href=\"#file-d-x-rs\"><code>d/x.rs</code></a> <span class=\"tangle-number\">\u{a7}1</span></div>\n\n\
         ```rust,noplayground\nfn x() {\n    <<the <b> part>>\n}\n```\n\n<div class=\"tangle-foot\">\n\
         <span>Becomes <a href=\"tangle/files/d/x.rs.md#L1\">lines 1\u{2013}5 of <code>d/x.rs</code></a>.</span>\n\
         <span>Refers to <a data-tangle-reference=\"the &lt;b&gt; part\" href=\"sub/b.md#frag-the-b-part\">the &lt;b&gt; \
         part</a>.</span>\n</div>\n</div>\n\nMore\n"
    );
}

#[test]
fn pieces_know_each_other() {
    let (woven, _) = weave(Target::Html, &[FILE, PART]);
    for expected in [
        "id=\"frag-the-b-part\"",
        "```rust,editable,noplayground\n1;\n```",
        "Becomes <a href=\"../tangle/files/d/x.rs.md#L2\">line 2 of",
        "Used in <a href=\"../a.md#file-d-x-rs\">d/x.rs</a> (\u{a7}1 in About a.md).",
        "Continued in <a href=\"#frag-the-b-part.2\">the &lt;b&gt; part</a> (\u{a7}2).",
        "<span class=\"tangle-operation\">+=</span>",
        "lines 3\u{2013}4 of",
        "Continues <a href=\"#frag-the-b-part\">",
    ] {
        assert!(woven[1].contains(expected), "{expected}\n{}", woven[1]);
    }
}

#[test]
fn overrides_say_so() {
    let (woven, _) = weave(
        Target::Html,
        &[("a.md", "```c file=a\n<<b>>\n```\n```c #b\n1\n```\n```c #b :=\n2\n```\n")],
    );
    assert!(woven[0].contains("Replaced by <a href=\"#frag-b.2\">"));
    assert!(woven[0].contains("Replaces <a href=\"#frag-b\">"));
}

#[test]
fn lists_and_quotations_stay_whole() {
    let text = "- item\n\n  ```c file=a\n  1\n  ```\n- ```c file=b\n  2\n  ```\n\n> ```c file=c\n> 3\n> ```\n> end\n";
    let (woven, _) = weave(Target::Html, &[("a.md", text)]);
    // Every fence is still found by the parser, in its place, with its text.
    let mut bodies = Vec::new();
    let mut depth = 0;
    let mut inside = None;
    for event in pulldown_cmark::Parser::new_ext(&woven[0], crate::parse::options()) {
        use pulldown_cmark::{Event, Tag, TagEnd};
        match event {
            Event::Start(Tag::Item | Tag::BlockQuote(_)) => depth += 1,
            Event::End(TagEnd::Item | TagEnd::BlockQuote(_)) => depth -= 1,
            Event::Start(Tag::CodeBlock(_)) => inside = Some(String::new()),
            Event::Text(text) => {
                if let Some(body) = &mut inside {
                    body.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => bodies.push((depth, inside.take().unwrap())),
            Event::Html(_) => assert_eq!(depth, 1, "HTML has left its list or quotation:\n{}", woven[0]),
            _ => {}
        }
    }
    let expected = ["1\n", "2\n", "3\n"].map(|body| (1, body.to_owned()));
    assert_eq!(bodies, expected, "{}", woven[0]);
}

#[test]
fn plumbing_is_closed_wherever_it_stands() {
    let chapters = [
        (
            "a.md",
            "```c file=x\n<<one>>\n```\n\n- > ```rust fold joins=b #one\n  > 1;\n  > ```\n\n```c joins=a #alone file=y\n```\n",
        ),
        ("b.md", "# B\n"),
    ];
    let (woven, _) = weave(Target::Html, &chapters);
    let html = &woven[0];
    for expected in [
        "- > <details class=\"tangle\" id=\"frag-one\">\n  > <summary class=\"tangle-head\"><a ",
        "\u{a7}2</span></summary>\n  > \n  > ```rust,noplayground\n  > 1;\n  > ```\n  > \n  > <div class=\"tangle-foot\">\n",
        "  > <span>Joins the program at <a href=\"b.md\">About b.md</a>.</span>\n  > </div>\n  > </details>\n",
        "<div class=\"tangle\" id=\"frag-alone\">",
    ] {
        assert!(html.contains(expected), "{expected}\n{html}");
    }
    // A chapter need not say that it joins itself.
    assert_eq!(html.matches("Joins").count(), 1, "{html}");
    let (woven, _) = weave(Target::Markdown, &chapters);
    assert!(woven[0].contains("- > **one**\n  > \n  > ```rust\n"), "{}", woven[0]);
    assert!(
        woven[0].contains("Joins the program at [About b.md](b.md)."),
        "{}",
        woven[0]
    );
    let (woven, _) = weave(Target::Test, &chapters);
    assert!(
        woven[0].contains("- > ```rust,ignore\n  > 1;\n  > ```\n"),
        "{}",
        woven[0]
    );
}

#[test]
fn rust_lines_that_mdbook_would_hide_are_shown() {
    let text = "```rust file=a.rs\n  # a\n#\n##b\n#[c]\n#!d\n```\n";
    let (woven, extras) = weave(Target::Html, &[("a.md", text)]);
    let shown = "\n  ## a\n##\n###b\n#[c]\n#!d\n```\n";
    assert!(woven[0].contains(shown), "{}", woven[0]);
    assert!(extras[1].children[0].content.contains(shown));
}

#[test]
fn markdown_has_no_html_and_tests_are_ignored() {
    let (woven, extras) = weave(Target::Markdown, &[FILE, PART]);
    assert!(extras.is_empty());
    assert!(!woven[0].contains("<div"));
    assert!(woven[0].contains("**`d/x.rs`**\n\n```rust\n"), "{}", woven[0]);
    assert!(woven[1].contains("\n**the \\<b\\> part** +=\n"), "{}", woven[1]);
    assert!(woven[1].contains("*Becomes line 2 of `d/x.rs`."), "{}", woven[1]);
    let (woven, _) = weave(Target::Test, &[FILE, PART]);
    assert_eq!(woven[0], FILE.1.replace("rust file=d/x.rs", "rust,ignore"));
}

#[test]
fn a_page_for_each_file_leads_back() {
    let (_, extras) = weave(Target::Html, &[FILE, PART]);
    let page = &extras[1].children[0];
    assert_eq!(
        (page.page.path.as_str(), page.page.title.as_str()),
        ("tangle/files/d/x.rs.md", "d/x.rs")
    );
    for expected in [
        "<a id=\"L1\" href=\"../../../a.md#file-d-x-rs\" title=\"d/x.rs in src/a.md:3\">1</a>\n",
        "<a id=\"L2\" href=\"../../../sub/b.md#frag-the-b-part\" title=\"the &lt;b&gt; part in src/sub/b.md:2\">2</a>\n",
        "<a id=\"L4\" href=\"../../../sub/b.md#frag-the-b-part.2\" title=\"the &lt;b&gt; part in src/sub/b.md:7\">4</a>\n",
        "```rust,noplayground\nfn x() {\n    1;\n    2;\n    3;\n}\n```\n",
    ] {
        assert!(page.content.contains(expected), "{expected}\n{}", page.content);
    }
    assert!(
        extras[1]
            .content
            .contains("<a href=\"files/d/x.rs.md\"><code>d/x.rs</code></a></td><td>5</td>")
    );
    assert!(
        extras[0]
            .content
            .contains("<li id=\"id-x\"><code>x</code> <em>fn</em> <a href=\"../a.md#file-d-x-rs\"")
    );
}

#[test]
fn a_fence_in_a_generated_file_does_not_end_its_page() {
    let (_, extras) = weave(Target::Html, &[("a.md", "~~~~md file=a.md\n````x\n~~~~\n")]);
    assert!(extras[1].children[0].content.contains("\n`````md\n````x\n`````\n"));
}

#[test]
fn ranges_in_words() {
    assert_eq!(lines(std::slice::from_ref(&(3..4))), "line 3");
    assert_eq!(lines(std::slice::from_ref(&(3..6))), "lines 3\u{2013}5");
    assert_eq!(lines(&[3..6, 9..10, 20..22]), "lines 3\u{2013}5, 9 and 20\u{2013}21");
    assert_eq!(lines(std::slice::from_ref(&(1..1))), "no line");
}

#[test]
fn front_matter_is_not_shown() {
    let text = "---\nruns: false\n---\n\n# One\n\n```c file=a.c\nint a;\n```\n";
    let book = Book::new([("a.md", text)]);
    let program = crate::program(&book).unwrap();
    let pages = [Page {
        path: "a.md".to_owned(),
        title: "A".to_owned(),
    }];
    let woven = |target| Weaver::new(&book, &program, &pages, target).chapter(0);
    assert!(woven(Target::Html).starts_with("\n# One\n"));
    assert!(!woven(Target::Html).contains("runs"));
    assert_eq!(woven(Target::Test).lines().count(), text.lines().count());
}

#[test]
fn a_promise_to_run_stands_below_the_title() {
    let woven = |target, text: &str| {
        let book = Book::new([("src/L010-a.md", format!("---\nruns: true\n---\n{text}"))]);
        let program = crate::program(&book).unwrap();
        let pages = [Page {
            path: "L010-a.md".to_owned(),
            title: "A".to_owned(),
        }];
        let weaver = Weaver::new(&book, &program, &pages, target).promising(Promises {
            runs: "It runs: `make {tag}`.",
            tests: "Its tests pass.",
        });
        weaver.chapter(0)
    };
    let promise = "\n<div class=\"tangle-runs\">\n\nIt runs: `make L010`.\n\n</div>\n";
    assert_eq!(
        woven(Target::Html, "\n# One\n\nText\n"),
        format!("\n# One\n{promise}\nText\n")
    );
    assert_eq!(woven(Target::Html, "Text\n"), format!("{promise}Text\n"));
    assert_eq!(woven(Target::Html, "# One"), format!("# One{promise}"));
    assert_eq!(woven(Target::Markdown, "# One\n"), "# One\n\nIt runs: `make L010`.\n");
    assert_eq!(woven(Target::Test, "# One\n"), "\n\n\n# One\n");
}
