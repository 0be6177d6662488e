//! Scripts that tell a story step by step (`scenarios/*.txt`): below each step stands, indented, the plan
//! that it must lead to. `INSTA_UPDATE=always` writes there what it leads to, as in all golden files.

use std::{error::Error, fmt::Write as _, fs, path::Path};

use similar::TextDiff;

use super::*;

mod world;

use world::World;

/// Begins the lines of a plan.
const INDENT: &str = "  ";

/// The script with the plans that its steps lead to.
fn played(script: &str) -> Result<String, Box<dyn Error>> {
    let mut world = World::default();
    let mut text = String::new();
    for (number, line) in (1..).zip(script.lines()) {
        if line.starts_with(INDENT) {
            continue;
        }
        writeln!(text, "{line}")?;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        world
            .take(line)
            .map_err(|error| format!("line {number}, \"{line}\": {error}"))?;
        for line in world.follow() {
            writeln!(text, "{INDENT}{line}")?;
        }
    }
    Ok(text)
}

/// What stands in a script and is not so (-), and what is so (+); empty when nothing differs.
fn difference(name: &str, written: &str, played: &str) -> String {
    TextDiff::from_lines(written, played)
        .unified_diff()
        .context_radius(4)
        .header(name, "what the scheduler plans")
        .to_string()
}

#[test]
fn every_script_leads_to_the_plans_that_stand_in_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/tests/scenarios");
    let update = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    let (mut scripts, mut differences) = (0, String::new());
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().display().to_string();
        let written = fs::read_to_string(&path).unwrap();
        let played = played(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
        scripts += 1;
        if update {
            fs::write(&path, played).unwrap();
        } else {
            differences += &difference(&name, &written, &played);
        }
    }
    assert!(scripts > 0, "there are no scripts");
    assert!(
        differences.is_empty(),
        "\n{differences}\nINSTA_UPDATE=always writes what is planned into the scripts"
    );
}

#[test]
fn a_plan_that_is_another_one_is_shown() {
    let script = "node 1 in eu-west 1000 mCPU 1024 MiB\nscale eu-west=1\ndeploy 1 needs 500 mCPU 512 MiB\n  nothing\n";
    insta::assert_snapshot!(difference("script.txt", script, &played(script).unwrap()), @r"
    --- script.txt
    +++ what the scheduler plans
    @@ -1,4 +1,4 @@
     node 1 in eu-west 1000 mCPU 1024 MiB
     scale eu-west=1
     deploy 1 needs 500 mCPU 512 MiB
    -  nothing
    +  place instance 1 of deployment 1 on node 1 in eu-west
    ");
}

#[test]
fn a_step_that_nobody_knows_is_an_error() {
    let error = played("# A story.\ndance 1\n").unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"line 2, "dance 1": no such step"#);
}
