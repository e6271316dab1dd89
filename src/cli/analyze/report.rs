//! Findings on standard output: JSON lines, or a table.

use std::io::{self, BufWriter, StdoutLock, Write};

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::cli::terminal::{columns, date_and_time, has_colour, printable};
use crate::detect::finding::Finding;
use crate::detect::verdict::{Severity, Verdict};
use crate::edge::display::TokenDisplay;

/// Rows that are laid out together; memory stays bounded however many findings there are.
const BLOCK_ROWS: usize = 500;

/// Where findings go, and how.
pub struct Report {
    out: BufWriter<StdoutLock<'static>>,
    /// How tokens are shown.
    pub display: TokenDisplay,
    table: Option<Block>,
}

impl Report {
    /// One JSON object a line.
    pub fn json(display: TokenDisplay) -> Self {
        Self {
            out: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
            display,
            table: None,
        }
    }

    /// A table: as wide as the terminal, or one line a finding where there is none.
    pub fn table(display: TokenDisplay) -> Self {
        let layout = match columns() {
            Some(columns) => Layout::Stacked(u16::try_from(columns).unwrap_or(u16::MAX).max(60)),
            None => Layout::Lines,
        };
        let table = Block {
            layout,
            colour: has_colour(),
            rows: Vec::new(),
            widths: None,
        };
        Self {
            table: Some(table),
            ..Self::json(display)
        }
    }

    /// Writes one finding, or keeps it for the block it belongs to; see [`Self::is_due`].
    pub fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let display = &self.display;
        match &mut self.table {
            None => {
                let json = finding.json(&|token| display.show(token), false);
                self.out.write_all(json.as_bytes())?;
                self.out.write_all(b"\n")
            }
            Some(block) => {
                let row = block.row(finding, display);
                block.rows.push(row);
                Ok(())
            }
        }
    }

    /// Whether a block is complete and should be written before the next finding.
    pub fn is_due(&self) -> bool {
        let block = self.table.as_ref();
        block.is_some_and(|block| block.rows.len() >= BLOCK_ROWS)
    }

    /// Passes on what is complete; rows of a table wait for their block.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what was kept.
    pub fn write_block(&mut self) -> io::Result<()> {
        if let Some(block) = &mut self.table {
            block.write(&mut self.out)?;
        }
        self.out.flush()
    }
}

#[derive(Clone, Copy)]
enum Layout {
    /// Several lines a finding, for a terminal of this many columns.
    Stacked(u16),
    /// One line a finding, for files and pipes.
    Lines,
}

/// Rows that wait to be written together.
struct Block {
    layout: Layout,
    colour: bool,
    rows: Vec<Vec<Cell>>,
    /// Widths of the first block's columns, which later ones keep; `None` before it.
    widths: Option<Vec<u16>>,
}

impl Block {
    fn row(&self, finding: &Finding, display: &TokenDisplay) -> Vec<Cell> {
        let (date, time) = date_and_time(finding.at);
        let severity = finding.severity();
        let token = printable(&display.show(&finding.token)).into_owned();
        let api = printable(&finding.api);
        let client = finding.client.as_deref().map(printable);
        let call = finding.call.as_deref().map(printable);
        let message = printable(&finding.message);
        match self.layout {
            Layout::Stacked(_) => {
                let mut who = format!("{api}\ntoken {token}");
                if let Some(client) = client {
                    who += &format!("\nclient {client}");
                }
                if let Some(call) = call {
                    who += &format!("\ncall {call}, attempt {}", finding.attempt);
                }
                vec![
                    Cell::new(format!("{time}\n{date}")),
                    paint(
                        format!("{}\n{severity}", finding.verdict),
                        severity,
                        self.colour,
                    ),
                    Cell::new(format!("{message}\n{who}")),
                ]
            }
            Layout::Lines => vec![
                Cell::new(format!("{date}T{time}Z")),
                paint(severity.to_string(), severity, self.colour),
                Cell::new(finding.verdict),
                Cell::new(api),
                Cell::new(token),
                Cell::new(client.unwrap_or_else(|| "-".into())),
                Cell::new(format!(
                    "{}#{}",
                    call.unwrap_or_else(|| "-".into()),
                    finding.attempt
                )),
                Cell::new(message),
            ],
        }
    }

    fn write(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let header: &[&str] = match self.layout {
            Layout::Stacked(_) => &["TIME (UTC)", "VERDICT", "WHAT HAPPENED"],
            Layout::Lines => &[
                "TIME",
                "SEVERITY",
                "VERDICT",
                "API",
                "TOKEN",
                "CLIENT",
                "CALL",
                "WHAT HAPPENED",
            ],
        };
        if self.widths.is_none() {
            table.set_header(header);
        }
        match self.layout {
            Layout::Stacked(columns) => {
                let longest = Verdict::ALL.iter().map(|verdict| verdict.as_str().len());
                let verdict = u16::try_from(longest.max().unwrap_or(0)).unwrap_or(u16::MAX);
                table
                    .load_preset(presets::UTF8_HORIZONTAL_ONLY)
                    .set_content_arrangement(ContentArrangement::Dynamic)
                    .set_width(columns);
                table.add_rows(self.rows.drain(..));
                let fixed = |width| ColumnConstraint::Absolute(Width::Fixed(width));
                table.set_constraints([fixed(12 + 2), fixed(verdict + 2)]);
            }
            Layout::Lines => {
                table.load_preset(presets::NOTHING);
                table.add_rows(self.rows.drain(..));
                for column in table.column_iter_mut() {
                    column.set_padding((0, 2));
                }
                let least = |width: &u16| ColumnConstraint::LowerBoundary(Width::Fixed(*width));
                if let Some(widths) = &self.widths {
                    table.set_constraints(widths.iter().map(least));
                }
            }
        }
        if self.widths.is_none() {
            let widths = table.column_max_content_widths();
            self.widths = Some(widths.iter().map(|width| width + 2).collect());
        }
        for line in table.lines() {
            out.write_all(line.trim_end().as_bytes())?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

fn paint(text: String, severity: Severity, colour: bool) -> Cell {
    use comfy_table::Color;
    let cell = Cell::new(text);
    match severity {
        _ if !colour => cell,
        Severity::Info => cell.add_attribute(Attribute::Dim),
        Severity::Warning => cell.fg(Color::Yellow),
        Severity::Error => cell.fg(Color::Red),
        Severity::Critical => cell.fg(Color::Red).add_attribute(Attribute::Bold),
    }
}
