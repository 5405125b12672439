//! Plots as SVG. Pure.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;

/// Lines that are told apart by their colour.
pub(super) const MOST_LINES: usize = 8;

/// A line with its name in the legend.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// What stands at the axes, and whether the one that goes up grows by factors of ten.
pub(super) struct Axes {
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    pub(super) by_tens: bool,
}

/// Draws `lines`, of which the first [`MOST_LINES`] are shown; without a point, nothing.
pub(super) fn lines(lines: &[Line], axes: &Axes) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some((most_x, most_y)) =
        points().copied().reduce(|(ax, ay), (bx, by)| (ax.max(bx), ay.max(by)))
    else {
        return String::new();
    };
    let scale = Scale::new(points().map(|point| point.1), most_x, most_y, axes.by_tens);
    let mut svg = format!(
        r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{} by {}">"#,
        axes.up, axes.across
    );
    for tick in scale.ticks() {
        let y = scale.y(tick);
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            r#"<path class="grid" d="M{LEFT} {y:.1}H{}"/><text x="{}" y="{:.1}" class="up">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            number(tick),
        );
    }
    for nth in 0..=4 {
        let value = scale.most_x * f64::from(nth) / 4.0;
        let (x, y) = (scale.x(value), HEIGHT - 10.0);
        let _ = write!(svg, r#"<text x="{x:.1}" y="{y}" class="across">{}</text>"#, number(value));
    }
    for (nth, line) in lines.iter().take(MOST_LINES).enumerate() {
        let place = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", scale.x(*x), scale.y(*y));
        let places: Vec<_> = line.points.iter().map(place).collect();
        let _ = write!(svg, r#"<polyline class="l{nth}" points="{}"/>"#, places.join(" "));
    }
    svg + "</svg>"
}

struct Scale {
    most_x: f64,
    low: f64,
    high: f64,
    by_tens: bool,
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, most_x: f64, most_y: f64, by_tens: bool) -> Self {
        let most_x = most_x.max(f64::MIN_POSITIVE);
        if !by_tens {
            return Self { most_x, low: 0.0, high: most_y.max(1.0), by_tens };
        }
        // What takes less than a tenth of a millisecond is as good as nothing.
        let least = values.fold(most_y, f64::min).max(0.1);
        let (low, high) = (least.log10().floor(), most_y.max(0.2).log10().ceil());
        Self { most_x, low, high: high.max(low + 1.0), by_tens }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + value / self.most_x * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.by_tens { value.max(0.1).log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.by_tens {
            return (self.low as i32..=self.high as i32).map(|tens| 10f64.powi(tens)).collect();
        }
        (0..=4).map(|nth| self.high * f64::from(nth) / 4.0).collect()
    }
}

/// Writes a number as short as an axis wants it.
fn number(value: f64) -> String {
    let digits = if value == 0.0 || value >= 10.0 { 0 } else { 1 };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes = Axes { across: "seconds", up: "ms", by_tens: true };

    fn line(points: &[(f64, f64)]) -> Line {
        Line { name: "x".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn the_largest_value_is_at_the_top_and_none_leaves_the_frame() {
        let svg = lines(&[line(&[(0.0, 1.0), (10.0, 100.0)])], &AXES);
        assert!(svg.contains(r#"points="56.0,192.0 628.0,10.0""#), "{svg}");
        let tens: Vec<_> =
            [">1.0<", ">10<", ">100<"].iter().filter(|t| svg.contains(**t)).collect();
        assert_eq!(tens.len(), 3, "{svg}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_a_single_value_does_not_divide_by_zero() {
        assert_eq!(lines(&[line(&[])], &AXES), "");
        let svg = lines(&[line(&[(0.0, 0.0)])], &Axes { by_tens: false, ..AXES });
        assert!(svg.contains("<polyline") && !svg.contains("NaN"), "{svg}");
    }
}
