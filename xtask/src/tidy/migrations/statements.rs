//! SQL text cut into statements: without what stands in quotes, and with the comments that belong to each.

/// One statement.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Where it begins.
    pub line: usize,
    /// In lower case, one space between words, quoted text left out.
    pub sql: String,
    /// Of the lines before it and in it, without their marks.
    pub comments: Vec<String>,
}

/// All statements of a file.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut cutter = Cutter {
        rest: text,
        line: 1,
        open: Statement::default(),
        done: Vec::new(),
    };
    while cutter.step() {}
    cutter.end();
    cutter.done
}

struct Cutter<'a> {
    rest: &'a str,
    line: usize,
    open: Statement,
    done: Vec<Statement>,
}

impl Cutter<'_> {
    /// The next piece; false at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest;
        if let Some(comment) = rest.strip_prefix("--") {
            let text = comment.lines().next().unwrap_or_default();
            self.open.comments.push(text.trim().to_owned());
            self.skip(2 + text.len());
        } else if rest.starts_with("/*") {
            self.skip(length_to(rest, 2, "*/"));
        } else if rest.starts_with('\'') {
            self.take("''", length_to(rest, 1, "'"));
        } else if let Some(tag) = dollar_tag(rest) {
            self.take("''", length_to(rest, tag.len(), tag));
        } else if rest.starts_with(';') {
            self.skip(1);
            self.end();
        } else {
            let Some(first) = rest.chars().next() else {
                return false;
            };
            self.take(&first.to_lowercase().to_string(), first.len_utf8());
        }
        true
    }

    fn take(&mut self, text: &str, length: usize) {
        let is_space = text.chars().all(char::is_whitespace);
        if self.open.sql.is_empty() {
            self.open.line = self.line;
        }
        match is_space {
            false => self.open.sql.push_str(text),
            true if !self.open.sql.is_empty() && !self.open.sql.ends_with(' ') => {
                self.open.sql.push(' ');
            }
            true => {}
        }
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (passed, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.line += passed.matches('\n').count();
        self.rest = rest;
    }

    fn end(&mut self) {
        let mut statement = std::mem::take(&mut self.open);
        statement.sql.truncate(statement.sql.trim_end().len());
        if !statement.sql.is_empty() {
            self.done.push(statement);
        }
    }
}

/// Up to the end of the first `end` behind the first `from` bytes.
fn length_to(text: &str, from: usize, end: &str) -> usize {
    let behind = &text[from..];
    behind
        .find(end)
        .map_or(text.len(), |at| from + at + end.len())
}

/// `$$` or `$tag$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let length = inner.find('$')?;
    let is_tag = inner[..length]
        .chars()
        .all(|c| c.is_alphanumeric() || c == '_');
    is_tag.then(|| &text[..length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_bodies_hide_what_they_say_and_comments_stay_with_their_statement() {
        let text = "-- first\nCREATE  TABLE a (b text default 'drop;table');\n\n/* no */ do $$ begin drop table x; end $$;\n-- why\nselect 1 -- in it\n";
        let found = statements(text);
        let sql: Vec<&str> = found.iter().map(|s| s.sql.as_str()).collect();
        assert_eq!(
            sql,
            ["create table a (b text default '')", "do ''", "select 1"]
        );
        assert_eq!(found[0].comments, ["first"]);
        assert_eq!(found[0].line, 2);
        assert_eq!(found[2].comments, ["why", "in it"]);
    }
}
