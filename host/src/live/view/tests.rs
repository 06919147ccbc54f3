//! What the view looks like, and that no size and no status makes it panic.

use std::path::Path;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;

use super::*;
use crate::live::fixture;

fn view<'a>(model: &'a Model, totals: &'a Totals) -> View<'a> {
    View {
        model,
        totals,
        kind: "embedded: generator to SQLite",
        log: Some(Path::new(".wasmill/ecommerce-sales/wasmill.log")),
        warning: None,
        paused: false,
        help: false,
        theme: Theme::new(true),
    }
}

/// The cells of a terminal of this size, as text.
fn shown(view: &View<'_>, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| render(view, frame.area(), frame.buffer_mut()))
        .unwrap();
    terminal.backend().to_string()
}

fn cells(view: &View<'_>, width: u16, height: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let area = buffer.area;
    render(view, area, &mut buffer);
    buffer
}

#[test]
fn a_terminal_of_80_by_24_has_the_essentials() {
    let (model, totals) = (fixture::model(), fixture::totals());
    insta::assert_snapshot!(shown(&view(&model, &totals), 80, 24));
}

#[test]
fn a_terminal_of_120_by_40_has_everything() {
    let (model, totals) = (fixture::model(), fixture::totals());
    insta::assert_snapshot!(shown(&view(&model, &totals), 120, 40));
}

#[test]
fn a_narrow_terminal_has_one_column() {
    let (model, totals) = (fixture::model(), fixture::totals());
    insta::assert_snapshot!(shown(&view(&model, &totals), 48, 40));
}

#[test]
fn a_small_terminal_has_the_stages() {
    let (model, totals) = (fixture::model(), fixture::totals());
    insta::assert_snapshot!(shown(&view(&model, &totals), 40, 10));
}

#[test]
fn a_server_that_is_away_and_a_warning_are_in_the_view() {
    let (model, totals) = (fixture::waiting_model(), fixture::totals());
    let mut view = view(&model, &totals);
    view.warning = Some("waiting for a sink sink=postgres");
    view.paused = true;
    insta::assert_snapshot!(shown(&view, 80, 24));
}

#[test]
fn help_lies_over_the_view() {
    let (model, totals) = (fixture::model(), fixture::totals());
    let mut view = view(&model, &totals);
    view.help = true;
    insta::assert_snapshot!(shown(&view, 80, 24));
}

#[test]
fn before_the_first_record_there_is_a_view_too() {
    let (model, totals) = (Model::default(), Totals::default());
    insta::assert_snapshot!(shown(&view(&model, &totals), 80, 24));
}

#[test]
fn sums_that_differ_cannot_be_overlooked() {
    let (model, mut totals) = (fixture::model(), fixture::totals());
    totals.checks[0].sums[2].amount.units += 1;
    let text = shown(&view(&model, &totals), 80, 24);
    assert!(text.contains("NOT EQUAL"), "{text}");
}

#[test]
fn without_colours_nothing_is_lost_but_colours() {
    let (model, totals) = (fixture::model(), fixture::totals());
    let mut view = view(&model, &totals);
    let coloured = cells(&view, 80, 24);
    view.theme = Theme::new(false);
    let plain = cells(&view, 80, 24);
    let text = |buffer: &Buffer| {
        let symbols = buffer.content().iter().map(ratatui::buffer::Cell::symbol);
        symbols.collect::<String>()
    };
    assert_eq!(text(&plain), text(&coloured));
    assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset));
    assert!(
        coloured
            .content()
            .iter()
            .any(|cell| cell.fg != Color::Reset)
    );
}

#[test]
fn the_ground_keeps_its_colour() {
    let (model, totals) = (fixture::waiting_model(), fixture::totals());
    let cells = cells(&view(&model, &totals), 120, 40);
    assert!(cells.content().iter().all(|cell| cell.bg == Color::Reset));
}

#[test]
fn no_size_makes_it_panic() {
    let (model, totals) = (fixture::waiting_model(), fixture::totals());
    let mut view = view(&model, &totals);
    view.warning = Some("disk full");
    for help in [false, true] {
        view.help = help;
        for width in 0..100 {
            for height in 0..50 {
                cells(&view, width, height);
            }
        }
        cells(&view, 1_000, 60);
        cells(&view, 60, 1_000);
    }
}

#[test]
fn an_area_beyond_the_buffer_is_cut() {
    let (model, totals) = (fixture::model(), fixture::totals());
    let mut buffer = Buffer::empty(Rect::new(0, 0, 30, 10));
    render(
        &view(&model, &totals),
        Rect::new(5, 5, 200, 200),
        &mut buffer,
    );
    render(
        &view(&model, &totals),
        Rect::new(50, 50, 20, 20),
        &mut buffer,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_status_makes_it_panic(
        statuses in prop::collection::vec(fixture::any_status(), 1..4),
        (width, height) in (0_u16..160, 0_u16..60),
        units in any::<[i64; 3]>(),
        label in ".{0,60}",
        warning in ".{0,60}",
    ) {
        let mut model = Model::default();
        for status in statuses {
            model.observe(status);
        }
        let mut totals = fixture::totals();
        for (bar, units) in totals.charts[0].bars.iter_mut().zip(units) {
            bar.amount.units = units;
            bar.label.clone_from(&label);
        }
        let mut view = view(&model, &totals);
        view.warning = Some(&warning);
        cells(&view, width, height);
    }
}
