//! Programs of the machine that tests run on.

use std::process::Command;

/// Whether a test that needs root and these programs can run here; says what is missing when it can't.
#[allow(clippy::print_stderr)]
pub fn possible(programs: &[&str]) -> bool {
    let mut missing = programs.to_vec();
    missing.retain(|program| !on_path(program));
    let root = nix::unistd::geteuid().is_root();
    if !root || !missing.is_empty() {
        eprintln!("skipped: needs root and {missing:?}; ./dev setup installs them");
    }
    root && missing.is_empty()
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// What a program says that must succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let out = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(out.stdout).unwrap()
}
