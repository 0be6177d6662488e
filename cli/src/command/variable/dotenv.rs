//! Files with lines of `KEY=VALUE` as other platforms and tools write them: comments, `export`,
//! single quotes (as it stands) and double quotes (`\n` and the like). Nothing is substituted.

use domain::name::VariableName;

/// Why a file can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither empty, comment, nor assignment.
    #[error("line {0} is not KEY=VALUE")]
    NoAssignment(usize),
    /// The name is no variable's.
    #[error("line {0}: {1}")]
    Name(usize, domain::name::InvalidVariableName),
    /// A quote is not closed by the end of its line.
    #[error("line {0}: the quote is not closed")]
    OpenQuote(usize),
}

/// The variables of a file, in its order.
pub fn parse(text: &str) -> Result<Vec<(VariableName, String)>, Error> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| variable(number, line))
        .collect()
}

fn variable(number: usize, line: &str) -> Result<(VariableName, String), Error> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or(Error::NoAssignment(number))?;
    let name = name
        .trim()
        .parse()
        .map_err(|error| Error::Name(number, error))?;
    let value = value.trim();
    let value = if let Some(quoted) = value.strip_prefix('"') {
        double_quoted(quoted).ok_or(Error::OpenQuote(number))?
    } else if let Some(quoted) = value.strip_prefix('\'') {
        let (inner, _) = quoted.split_once('\'').ok_or(Error::OpenQuote(number))?;
        inner.to_owned()
    } else {
        value
            .split(" #")
            .next()
            .unwrap_or(value)
            .trim_end()
            .to_owned()
    };
    Ok((name, value))
}

fn double_quoted(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_tools_are_read() {
        let text = "# comment\n\nA=1\nexport B = two words # remark\nC='a #b $X'\nD=\"x\\n\\\"y\\\"\"\nE=\nF=a=b#c\n";
        let found: Vec<(String, String)> = parse(text)
            .unwrap()
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a #b $X"),
            ("D", "x\n\"y\""),
            ("E", ""),
            ("F", "a=b#c"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn faults_name_their_line() {
        assert_eq!(parse("A=1\nnonsense"), Err(Error::NoAssignment(2)));
        assert_eq!(parse("A=\"x"), Err(Error::OpenQuote(1)));
        assert!(matches!(parse("1A=x"), Err(Error::Name(1, _))));
    }
}
