//! The chart: for each row that tells it, how many records a second of CPU time is enough for.

use std::fmt::Write;

use anyhow::Result;

use super::results::{Row, number};

/// The figure that the bars show.
const FIGURE: &str = "a CPU-second";

const WIDTH: f64 = 960.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
/// Where bars begin; names are left of it.
const LEFT: f64 = 400.0;
/// Room for the number behind the longest bar.
const RIGHT: f64 = 100.0;
const TOP: f64 = 48.0;

/// Draws the rows, longest bar as wide as there is room.
pub(super) fn draw(rows: &[Row]) -> Result<String> {
    let bars: Vec<(&Row, f64)> = rows
        .iter()
        .filter_map(|row| Some((row, row.median(FIGURE)?)))
        .collect();
    let longest = bars.iter().map(|(_, value)| *value).fold(1.0, f64::max);
    let height = TOP + STEP * bars.len() as f64 + 12.0;
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="16" y="26" font-size="16" font-weight="600" fill="#1f2937">Records for a second of CPU time of the process</text>"##
    )?;
    for (index, (row, value)) in bars.iter().enumerate() {
        let y = TOP + STEP * index as f64;
        bar(&mut svg, y, row, (*value, longest))?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn bar(svg: &mut String, y: f64, row: &Row, (value, longest): (f64, f64)) -> Result<()> {
    let width = (WIDTH - LEFT - RIGHT) * value / longest;
    let (text_y, name_x, number_x) = (y + 13.5, LEFT - 10.0, LEFT + width + 8.0);
    writeln!(
        svg,
        r##"<text x="{name_x}" y="{text_y}" text-anchor="end" fill="#374151">{}</text>
<rect x="{LEFT}" y="{y}" width="{width:.1}" height="{BAR}" rx="2" fill="#4f46e5"/>
<text x="{number_x:.1}" y="{text_y}" fill="#374151">{}</text>"##,
        escaped(&row.name),
        number(value)
    )?;
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::results::Figure;
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let row =
            |name: &str, value| Row::new("g", name, vec![Figure::new(FIGURE, "", vec![value])]);
        let other = Row::new("g", "no bar", vec![Figure::new("wall", "s", vec![1.0])]);
        let svg = draw(&[row("a < b", 100.0), row("half", 50.0), other]).unwrap();
        assert!(svg.contains("a &lt; b") && !svg.contains("no bar"));
        assert!(svg.contains(r#"width="460.0""#) && svg.contains(r#"width="230.0""#));
    }
}
