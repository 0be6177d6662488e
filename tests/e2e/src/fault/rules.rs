//! Firewall rules in a namespace, in chains of their own, so that they can be taken away exactly, even
//! those of a test that was killed.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// How the chains of all faults begin.
const PREFIX: &str = "FAULT-";

/// One rule and where it stands.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Such as `filter`.
    pub table: &'static str,
    /// The chain of the table's that it is reached from, such as `FORWARD`.
    pub hook: &'static str,
    /// In the words of `iptables`.
    pub text: String,
}

impl Rule {
    /// A rule of the `filter` table.
    #[must_use]
    pub fn filter(hook: &'static str, text: String) -> Self {
        let table = "filter";
        Self { table, hook, text }
    }

    /// A rule of the `nat` table.
    #[must_use]
    pub fn nat(hook: &'static str, text: String) -> Self {
        let table = "nat";
        Self { table, hook, text }
    }
}

/// Rules that are set; dropping this removes them.
#[derive(Debug)]
pub struct Rules {
    netns: String,
    prefix: String,
}

impl Rules {
    /// Sets them, before all others.
    pub fn set(netns: &str, rules: &[Rule]) -> Result<Self> {
        let prefix = format!("{PREFIX}{}-", hex::encode(rand::random::<[u8; 4]>()));
        let set = Self {
            netns: netns.to_owned(),
            prefix,
        };
        restore(netns, &addition(&set.prefix, rules))?;
        Ok(set)
    }

    /// How many packets they have met.
    pub fn packets(&self) -> Result<u64> {
        let saved = inside(&self.netns, &["iptables-save", "--counters"], "")?;
        Ok(saved
            .lines()
            .filter(|line| line.contains(&format!("-A {}", self.prefix)))
            .filter_map(packets)
            .sum())
    }
}

impl Drop for Rules {
    #[expect(
        clippy::print_stderr,
        reason = "the test has ended: nobody else could be told"
    )]
    fn drop(&mut self) {
        if let Err(error) = remove(&self.netns, &self.prefix) {
            eprintln!("removing the rules {}: {error:#}", self.prefix);
        }
    }
}

/// Removes what a test that was killed has left in a namespace.
pub fn remove_leftovers(netns: &str) -> Result<()> {
    remove(netns, PREFIX)
}

fn remove(netns: &str, prefix: &str) -> Result<()> {
    let saved = inside(netns, &["iptables-save"], "")?;
    let removal = removal(prefix, &saved);
    if removal.is_empty() {
        return Ok(());
    }
    restore(netns, &removal)
}

/// The text that sets `rules` in chains that begin with `prefix`.
fn addition(prefix: &str, rules: &[Rule]) -> String {
    let mut tables: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for rule in rules {
        let hooks = tables.entry(rule.table).or_default();
        hooks.entry(rule.hook).or_default().push(&rule.text);
    }
    let mut text = String::new();
    for (table, hooks) in tables {
        let _ = writeln!(text, "*{table}");
        for (hook, rules) in hooks {
            let _ = writeln!(text, ":{prefix}{hook} -");
            for rule in rules {
                let _ = writeln!(text, "-A {prefix}{hook} {rule}");
            }
            let _ = writeln!(text, "-I {hook} 1 -j {prefix}{hook}");
        }
        text.push_str("COMMIT\n");
    }
    text
}

/// The text that removes every chain that begins with `prefix` from what `iptables-save` says.
fn removal(prefix: &str, saved: &str) -> String {
    let mut text = String::new();
    for table in saved.split("COMMIT").filter(|table| table.contains(prefix)) {
        let (mut jumps, mut chains) = (String::new(), String::new());
        for line in table.lines() {
            if line.starts_with('*') {
                let _ = writeln!(text, "{line}");
            } else if line.contains(&format!("-j {prefix}")) {
                let _ = writeln!(jumps, "{}", line.replacen("-A ", "-D ", 1));
            } else if let Some(chain) = chain(line).filter(|chain| chain.starts_with(prefix)) {
                let _ = writeln!(chains, "-F {chain}\n-X {chain}");
            }
        }
        text += &jumps;
        text += &chains;
        text.push_str("COMMIT\n");
    }
    text
}

/// `:NAME - [0:0]` declares a chain.
fn chain(line: &str) -> Option<&str> {
    line.strip_prefix(':')?.split(' ').next()
}

/// `[12:345] -A …`: packets and bytes.
fn packets(line: &str) -> Option<u64> {
    line.strip_prefix('[')?.split(':').next()?.parse().ok()
}

fn restore(netns: &str, rules: &str) -> Result<()> {
    inside(netns, &["iptables-restore", "--noflush"], rules)
        .map(drop)
        .with_context(|| format!("setting\n{rules}"))
}

/// Runs a program in a namespace; what it says. Blocking, for it is also wanted where nothing can wait.
pub(super) fn inside(netns: &str, words: &[&str], input: &str) -> Result<String> {
    let mut program = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{netns}"))
        .arg("--")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {words:?}"))?;
    let mut stdin = program.stdin.take().context("a piped stdin")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = program.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{words:?} in {netns} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_has_a_chain_that_is_reached_before_all_others() {
        let rules = [
            Rule::filter("FORWARD", "-s 10.96.1.2 -j DROP".to_owned()),
            Rule::nat("PREROUTING", "-j RETURN".to_owned()),
            Rule::filter("FORWARD", "-d 10.96.1.2 -j DROP".to_owned()),
        ];
        let expected = "*filter\n\
            :FAULT-1-FORWARD -\n\
            -A FAULT-1-FORWARD -s 10.96.1.2 -j DROP\n\
            -A FAULT-1-FORWARD -d 10.96.1.2 -j DROP\n\
            -I FORWARD 1 -j FAULT-1-FORWARD\n\
            COMMIT\n\
            *nat\n\
            :FAULT-1-PREROUTING -\n\
            -A FAULT-1-PREROUTING -j RETURN\n\
            -I PREROUTING 1 -j FAULT-1-PREROUTING\n\
            COMMIT\n";
        assert_eq!(addition("FAULT-1-", &rules), expected);
    }

    #[test]
    fn what_was_set_is_removed_and_nothing_else() {
        let saved = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n\
            # Generated\n*filter\n:FORWARD DROP [0:0]\n:FAULT-1-FORWARD - [0:0]\n:FAULT-2-FORWARD - [0:0]\n\
            -A FORWARD -j FAULT-1-FORWARD\n-A FORWARD -j FAULT-2-FORWARD\n\
            -A FORWARD -p tcp -j ACCEPT\n-A FAULT-1-FORWARD -s 10.96.1.2/32 -j DROP\nCOMMIT\n";
        let one = "*filter\n-D FORWARD -j FAULT-1-FORWARD\n-F FAULT-1-FORWARD\n-X FAULT-1-FORWARD\nCOMMIT\n";
        assert_eq!(removal("FAULT-1-", saved), one);
        assert_eq!(removal(PREFIX, saved).matches("-X").count(), 2);
        assert_eq!(removal("FAULT-3-", saved), "");
    }

    #[test]
    fn counters_are_read() {
        assert_eq!(packets("[12:345] -A FAULT-1-FORWARD -j DROP"), Some(12));
        assert_eq!(packets("-A FORWARD -j DROP"), None);
    }
}
