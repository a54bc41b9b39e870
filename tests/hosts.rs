//! Where the scripts keep the kernels that they build.

mod common;

use common::{clean, top};
use std::fs;
use std::path::Path;

/// The scripts that decide about it, in a checkout of their own with one more line in the configuration.
fn checkout(name: &str, option: &str) -> std::path::PathBuf {
    let scripts = top().join("target/test").join(name).join("scripts");
    fs::create_dir_all(&scripts).expect("a directory for the scripts");
    for file in ["lib.sh", "bochs.patch", "small.config", "debug.config"] {
        fs::copy(top().join("scripts").join(file), scripts.join(file)).expect("copying a script");
    }
    let config = scripts.join("small.config");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, text + option).expect("writing the configuration");
    scripts.join("lib.sh")
}

/// The build directory and the image of the kernel called `host`, and what says that they are complete.
fn places(library: &Path, host: &str) -> Vec<String> {
    let said = clean("bash")
        .args([
            "-c",
            r#". "$0"; echo "$build_dir"; echo "$image"; echo "$version""#,
        ])
        .arg(library)
        .env("HOST", host)
        .env_remove("LINUX_SRC")
        .output()
        .expect("bash is here");
    assert!(said.status.success(), "{said:?}");
    String::from_utf8_lossy(&said.stdout)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_kernel_with_another_configuration_lies_elsewhere() {
    let one = checkout("configuration", "");
    let other = checkout("configuration-changed", "CONFIG_KSM=y\n");
    for host in ["small", "debug"] {
        let (one, other) = (places(&one, host), places(&other, host));
        assert_eq!((one.len(), other.len()), (3, 3));
        for (one, other) in one.iter().zip(&other) {
            assert_ne!(
                one, other,
                "HOST={host} with one option more takes the place of the one without"
            );
        }
    }
    assert_eq!(
        places(&one, "debian"),
        places(&other, "debian"),
        "Debian's own kernel has its own configuration"
    );
}
