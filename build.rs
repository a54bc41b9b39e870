//! At the root of the workspace: the chapters become code before anything is compiled.

fn main() {
    tangle::build_script::run("");
}
