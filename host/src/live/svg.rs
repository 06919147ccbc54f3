//! A picture of the cells: for the documentation, where there is no terminal.
//!
//! Blocks and rules are drawn as areas, so that they join whatever the font; everything else is text.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Pixels of a cell.
const CELL_WIDTH: f64 = 8.4;
const CELL_HEIGHT: f64 = 18.0;
/// From the top of a cell to the line that letters stand on.
const BASELINE: f64 = 13.5;
/// Around all cells.
const MARGIN: f64 = 14.0;

const GROUND: &str = "#16191d";
const TEXT: &str = "#d7dbe0";
const DIM: &str = "#828a94";

/// The picture of a buffer, on a dark ground. `title` is for those who cannot see it.
pub(crate) fn render(buffer: &Buffer, title: &str) -> String {
    let area = buffer.area;
    let width = f64::from(area.width) * CELL_WIDTH + 2.0 * MARGIN;
    let height = f64::from(area.height) * CELL_HEIGHT + 2.0 * MARGIN;
    let mut svg = String::new();
    // Writing to a string does not fail, here and below.
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1} {height:.1}" width="{width:.1}" height="{height:.1}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14" shape-rendering="crispEdges" xml:space="preserve">"#
    );
    let _ = writeln!(svg, "<title>{}</title>", escaped(title));
    let _ = writeln!(
        svg,
        r#"<rect width="{width:.1}" height="{height:.1}" rx="8" fill="{GROUND}" shape-rendering="auto"/>"#
    );
    let columns = usize::from(area.width).max(1);
    for (row, cells) in buffer.content().chunks(columns).enumerate() {
        draw_row(&mut svg, row, cells);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_row(svg: &mut String, row: usize, cells: &[Cell]) {
    let top = MARGIN + row as f64 * CELL_HEIGHT;
    let mut begin = 0;
    while begin < cells.len() {
        let first = &cells[begin];
        let joins = |cell: &&Cell| {
            look(cell) == look(first)
                && match part(first.symbol()) {
                    Some(_) => cell.symbol() == first.symbol(),
                    None => part(cell.symbol()).is_none(),
                }
        };
        let end = begin + cells[begin..].iter().take_while(joins).count().max(1);
        let run = &cells[begin..end];
        match part(first.symbol()) {
            Some(part) => area(svg, begin, top, run, part),
            None => text(svg, begin, top, run),
        }
        begin = end;
    }
}

/// Equal blocks or rules next to one another. Each begins at the left of its cell, and those as wide
/// as the cell join.
fn area(svg: &mut String, column: usize, top: f64, run: &[Cell], part: Part) {
    let Part {
        top: upper,
        width,
        height,
    } = part;
    let joined = width >= 1.0;
    let (count, cells) = if joined {
        (1, run.len())
    } else {
        (run.len(), 1)
    };
    for index in 0..count {
        let x = MARGIN + (column + index) as f64 * CELL_WIDTH;
        let _ = writeln!(
            svg,
            r#"<rect x="{x:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{}"/>"#,
            top + upper * CELL_HEIGHT,
            cells as f64 * width * CELL_WIDTH,
            height * CELL_HEIGHT,
            look(&run[0]).0,
        );
    }
}

fn text(svg: &mut String, column: usize, top: f64, run: &[Cell]) {
    let symbols: String = run.iter().map(Cell::symbol).collect();
    let shown = symbols.trim();
    if shown.is_empty() {
        return;
    }
    let blank = symbols.len() - symbols.trim_start().len();
    let trailing = symbols.len() - symbols.trim_end().len();
    let (fill, bold) = look(&run[0]);
    let weight = if bold { r#" font-weight="bold""# } else { "" };
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" textLength="{:.1}" fill="{fill}"{weight}>{}</text>"#,
        MARGIN + (column + blank) as f64 * CELL_WIDTH,
        top + BASELINE,
        (run.len() - blank - trailing) as f64 * CELL_WIDTH,
        escaped(shown),
    );
}

/// A part of a cell, in shares of it.
#[derive(Clone, Copy)]
struct Part {
    top: f64,
    width: f64,
    height: f64,
}

/// What a low block or a horizontal rule fills; `None` for other symbols.
fn part(symbol: &str) -> Option<Part> {
    let mut symbols = symbol.chars();
    let (symbol, None) = (symbols.next()?, symbols.next()) else {
        return None;
    };
    let (top, width, height) = match symbol {
        '─' => (0.5, 1.0, 0.06),
        '━' => (0.4, 1.0, 0.26),
        '╸' => (0.4, 0.5, 0.26),
        // Lower eighths, the full block included.
        '▁'..='█' => {
            let height = f64::from(u32::from(symbol) - u32::from('▁') + 1) / 8.0;
            (1.0 - height, 1.0, height)
        }
        _ => return None,
    };
    Some(Part { top, width, height })
}

/// Colour, and whether it is bold.
fn look(cell: &Cell) -> (&'static str, bool) {
    let colour = match cell.fg {
        Color::Cyan => "#56b6c2",
        Color::Green => "#7cc47f",
        Color::Magenta => "#cf8fe0",
        Color::Red => "#ef6b73",
        _ if cell.modifier.contains(Modifier::DIM) => DIM,
        _ => TEXT,
    };
    (colour, cell.modifier.contains(Modifier::BOLD))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // XML has no other control characters, not even escaped.
            symbol if symbol.is_control() => escaped.push(' '),
            symbol => escaped.push(symbol),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn text_keeps_its_place_colour_and_weight() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 20, 2));
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        buffer.set_string(3, 1, "a < b & c", style);
        let svg = render(&buffer, "t");
        let wanted = r##"<text x="39.2" y="45.5" textLength="75.6" fill="#ef6b73" font-weight="bold">a &lt; b &amp; c</text>"##;
        assert!(svg.contains(wanted), "{svg}");
        assert_eq!(svg.matches("<text").count(), 1, "{svg}");
    }

    #[test]
    fn blocks_become_areas_of_their_share() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 10, 1));
        buffer.set_string(0, 0, "██╸▄", Style::new());
        let svg = render(&buffer, "t");
        for wanted in [
            r#"x="14.0" y="14.0" width="16.8" height="18.0""#,
            r#"x="30.8" y="21.2" width="4.2" height="4.7""#,
            r#"x="39.2" y="23.0" width="8.4" height="9.0""#,
        ] {
            assert!(svg.contains(wanted), "{wanted} in {svg}");
        }
        assert!(!svg.contains("<text"), "{svg}");
    }

    #[test]
    fn an_empty_buffer_is_a_picture_too() {
        let svg = render(&Buffer::empty(Rect::ZERO), "a < b");
        assert!(
            svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert!(svg.contains("<title>a &lt; b</title>"), "{svg}");
    }
}
