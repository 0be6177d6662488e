//! Tables for people: columns without lines, state in words and, on a terminal, in colour.

use comfy_table::{Attribute, Color, presets::NOTHING};

use super::clean;

/// What a cell says beyond its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    Plain,
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Needs attention.
    Bad,
    /// Of little weight.
    Dim,
}

/// One cell.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell with a tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    /// An id, a time, something to look at only when needed.
    pub fn dim(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Dim)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under a header.
#[derive(Debug)]
pub struct Table {
    header: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with a row for each item.
    pub fn of<T, const N: usize>(
        header: &'static [&'static str; N],
        items: &[T],
        row: impl Fn(&T) -> [Cell; N],
    ) -> Self {
        Self {
            header,
            rows: items.iter().map(|item| row(item).into()).collect(),
        }
    }

    /// As text. Where `width` is too little, ids go first: half an id is of no use.
    pub fn render(mut self, colour: bool, width: Option<u16>) -> String {
        let has_ids = self.header.last() == Some(&"ID");
        let is_too_wide = width.is_some_and(|width| self.widest() > usize::from(width));
        if has_ids && is_too_wide {
            self.header = &self.header[..self.header.len() - 1];
            for row in &mut self.rows {
                row.pop();
            }
        }
        self.text(colour)
    }

    fn widest(&self) -> usize {
        let plain = Self {
            header: self.header,
            rows: self.rows.clone(),
        };
        let text = plain.text(false);
        let widths = text.lines().map(console::measure_text_width);
        widths.max().unwrap_or_default()
    }

    fn text(self, colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING);
        if colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let titles = self.header.iter();
        table.set_header(
            titles.map(|title| comfy_table::Cell::new(title).add_attribute(Attribute::Dim)),
        );
        let rows = self.rows.into_iter();
        table.add_rows(rows.map(|row| row.into_iter().map(styled)));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

fn styled(cell: Cell) -> comfy_table::Cell {
    let text = if cell.text.is_empty() {
        "-".to_owned()
    } else {
        clean(&cell.text, false)
    };
    let styled = comfy_table::Cell::new(text);
    match cell.tone {
        Tone::Plain => styled,
        Tone::Good => styled.fg(Color::Green),
        Tone::Busy => styled.fg(Color::Yellow),
        Tone::Bad => styled.fg(Color::Red),
        Tone::Dim => styled.add_attribute(Attribute::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        Table::of(&["NAME", "STATE", "ID"], &["web", "worker"], |name| {
            [(*name).into(), Cell::new("live", Tone::Good), Cell::dim("")]
        })
    }

    #[test]
    fn without_a_terminal_there_is_only_text() {
        insta::assert_snapshot!(sample().render(false, None), @r"
        NAME    STATE  ID
        web     live   -
        worker  live   -
        ");
    }

    #[test]
    fn on_a_narrow_terminal_ids_go_first() {
        let narrow = sample().render(false, Some(12));
        assert!(narrow.starts_with("NAME    STATE\n"), "{narrow}");
        assert!(sample().render(false, Some(40)).contains("ID"));
    }

    #[test]
    fn on_a_terminal_state_has_a_colour() {
        assert!(
            sample()
                .render(true, Some(80))
                .contains("\x1b[38;5;10mlive")
        );
    }
}
