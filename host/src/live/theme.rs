//! Colours. Few, from the terminal's own palette, and never a background: so they can be read on a
//! light ground as well as on a dark one. What they say is also said in words.

use ratatui::style::{Color, Modifier, Style};

/// How the view looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Theme {
    coloured: bool,
}

impl Theme {
    /// With colours, or with bold and dim text alone.
    pub(crate) fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    /// Colours unless `NO_COLOR` is set.
    pub(crate) fn of_environment() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(!no_color)
    }

    /// Titles, also over a rule, and names.
    #[expect(clippy::unused_self, reason = "a look of the theme, as the others are")]
    pub(super) fn strong(self) -> Style {
        Style::new()
            .add_modifier(Modifier::BOLD)
            .remove_modifier(Modifier::DIM)
    }

    /// Rules, heads of columns, units.
    #[expect(clippy::unused_self, reason = "a look of the theme, as the others are")]
    pub(super) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Bars and the curve.
    pub(super) fn bar(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// All is well.
    pub(super) fn good(self) -> Style {
        self.colour(Color::Green)
    }

    /// To be looked at.
    pub(super) fn warning(self) -> Style {
        self.colour(Color::Magenta)
    }

    /// Wrong.
    pub(super) fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn colour(self, colour: Color) -> Style {
        if self.coloured {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
