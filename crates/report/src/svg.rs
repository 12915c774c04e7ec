//! Draws the pieces of plots: panels, axes, markers. Colours are CSS classes, so one drawing suits light pages, dark
//! pages and paper.

use maud::{Markup, PreEscaped, html};

use super::text::escape;

/// The colours, which the page and stand-alone plots share.
pub const PALETTE: &str = include_str!("palette.css");

/// A drawing of one or more panels with a common legend.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The file name without extension, which is also the anchor on the page.
    pub id: String,
    /// The heading.
    pub title: String,
    /// The explanation of how to read the figure.
    pub caption: String,
    /// The markers of the legend with their meanings. A marker is drawn in a box of 20 × 14 pixels.
    pub legend: Vec<(String, String)>,
    /// The drawings, in reading order.
    pub panels: Vec<Panel>,
}

/// One drawing, which is at most as wide as the screen of a phone.
#[derive(Debug, Clone)]
pub struct Panel {
    /// The heading above the drawing.
    pub title: String,
    /// A description of the drawing in words, for readers who do not see it.
    pub label: String,
    /// The width of the drawing in pixels.
    pub width: f64,
    /// The height of the drawing in pixels.
    pub height: f64,
    /// The SVG elements of the drawing.
    pub body: String,
}

impl Figure {
    /// Returns the figure as HTML for a page.
    pub fn html(&self) -> Markup {
        html! {
            figure id=(self.id) {
                figcaption { b { (self.title) } " " (self.caption) }
                @if !self.legend.is_empty() {
                    ul class="legend" {
                        @for (marker, meaning) in &self.legend {
                            li {
                                svg width="20" height="14" viewBox="0 0 20 14" aria-hidden="true" { (PreEscaped(marker)) }
                                (meaning)
                            }
                        }
                    }
                }
                div class="panels" {
                    @for panel in &self.panels { (panel.html()) }
                }
            }
        }
    }

    /// Returns the figure as an SVG document, with a mark if its numbers are synthetic.
    pub fn standalone(&self, is_synthetic: bool) -> String {
        const MARGIN: f64 = 24.0;
        let columns = self.panels.len().clamp(1, 3);
        let wide = self.panels.iter().map(|p| p.width).fold(200.0, f64::max);
        let width = MARGIN + (wide + MARGIN) * columns as f64;
        let title = self.title.trim_end_matches('.');
        let mut body = text(MARGIN, 34.0, "ink head", "start", title);
        let (mut x, mut y) = (MARGIN, 52.0);
        for (marker, meaning) in &self.legend {
            // The width of a text is not known without its font; 6.6 a letter suits 12 pixels.
            let advance = 38.0 + 6.6 * meaning.chars().count() as f64;
            if x > MARGIN && x + advance > width {
                (x, y) = (MARGIN, y + 20.0);
            }
            body.push_str(&format!(
                "<g transform=\"translate({} {})\">{marker}</g>",
                f(x),
                f(y)
            ));
            body.push_str(&text(x + 24.0, y + 11.0, "ink", "start", meaning));
            x += advance;
        }
        y += if self.legend.is_empty() { 0.0 } else { 30.0 };
        for row in self.panels.chunks(columns) {
            let tall = row.iter().map(|p| p.height).fold(0.0, f64::max);
            for (column, panel) in row.iter().enumerate() {
                let left = MARGIN + column as f64 * (wide + MARGIN);
                body.push_str(&text(left, y + 14.0, "ink strong", "start", &panel.title));
                body.push_str(&format!(
                    "<g transform=\"translate({} {})\">{}</g>\n",
                    f(left),
                    f(y + 22.0),
                    panel.body
                ));
            }
            y += tall + 22.0 + MARGIN;
        }
        if is_synthetic {
            let words = "Synthetic data: describes no language, no people and no published model.";
            body.push_str(&text(MARGIN, y, "muted small", "start", words));
            y += MARGIN;
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\">\n\
             <title>{}</title>\n<desc>{}</desc>\n<style>{PALETTE}</style>\n\
             <rect class=\"page\" width=\"{w}\" height=\"{h}\"/>\n{body}</svg>\n",
            escape(title),
            escape(&self.caption),
            w = f(width),
            h = f(y),
        )
    }
}

impl Panel {
    fn html(&self) -> Markup {
        let [w, h] = [self.width, self.height].map(f);
        html! {
            div class="panel" style={ "max-width:" (w) "px" } {
                p class="panel-title" { (self.title) }
                svg viewBox={ "0 0 " (w) " " (h) } role="img" aria-label=(self.label) { (PreEscaped(&self.body)) }
            }
        }
    }
}

/// Writes a coordinate with one decimal, and zero without a sign.
pub fn f(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text).to_string();
    if text == "-0" { "0".to_string() } else { text }
}

/// Draws words at a position; `anchor` is `start`, `middle` or `end`.
pub fn text(x: f64, y: f64, class: &str, anchor: &str, words: &str) -> String {
    format!(
        "<text x=\"{}\" y=\"{}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>",
        f(x),
        f(y),
        escape(words)
    )
}

/// Draws a straight line.
pub fn line(from: (f64, f64), to: (f64, f64), class: &str) -> String {
    format!(
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" class=\"{class}\"/>",
        f(from.0),
        f(from.1),
        f(to.0),
        f(to.1)
    )
}

/// Draws a marker of one of seven shapes in one of eight colours, with a tooltip if `tip` is not empty.
pub fn marker(shape: usize, color: usize, x: f64, y: f64, r: f64, tip: &str) -> String {
    let points = |list: &[(f64, f64)]| {
        let list: Vec<String> = list
            .iter()
            .map(|(a, b)| format!("{},{}", f(x + r * a), f(y + r * b)))
            .collect();
        list.join(" ")
    };
    let tip = if tip.is_empty() {
        String::new()
    } else {
        format!("<title>{}</title>", escape(tip))
    };
    let class = format!("fill{} mark", color % 8);
    match shape % 7 {
        0 => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"{class}\">{tip}</circle>",
            f(x),
            f(y),
            f(r)
        ),
        shape => {
            let list = match shape {
                1 => points(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
                2 => points(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
                3 => points(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
                4 => points(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
                6 => points(&[
                    (-1.2, 0.0),
                    (-0.6, -1.05),
                    (0.6, -1.05),
                    (1.2, 0.0),
                    (0.6, 1.05),
                    (-0.6, 1.05),
                ]),
                _ => points(&[
                    (-0.4, -1.2),
                    (0.4, -1.2),
                    (0.4, -0.4),
                    (1.2, -0.4),
                    (1.2, 0.4),
                    (0.4, 0.4),
                    (0.4, 1.2),
                    (-0.4, 1.2),
                    (-0.4, 0.4),
                    (-1.2, 0.4),
                    (-1.2, -0.4),
                    (-0.4, -0.4),
                ]),
            };
            format!("<polygon points=\"{list}\" class=\"{class}\">{tip}</polygon>")
        }
    }
}

/// A coordinate plane with axes.
pub struct Plane {
    /// The range of x.
    pub x: (f64, f64),
    /// The range of y.
    pub y: (f64, f64),
    /// Whether the x axis is logarithmic.
    pub log_x: bool,
    /// The left, top, right and bottom edge of the drawing area.
    pub area: (f64, f64, f64, f64),
}

impl Plane {
    /// Returns the horizontal position of a value.
    pub fn px(&self, x: f64) -> f64 {
        let scale = |v: f64| if self.log_x { v.ln() } else { v };
        let (low, high) = (scale(self.x.0), scale(self.x.1));
        self.area.0 + (scale(x) - low) / (high - low) * (self.area.2 - self.area.0)
    }

    /// Returns the vertical position of a value.
    pub fn py(&self, y: f64) -> f64 {
        self.area.3 - (y - self.y.0) / (self.y.1 - self.y.0) * (self.area.3 - self.area.1)
    }

    /// Draws the grid, the ticks and the names of the axes. The name of the y axis is written horizontally above it,
    /// because horizontal words are easiest to read.
    pub fn axes(&self, x_name: &str, y_name: &str) -> String {
        let (left, top, right, bottom) = self.area;
        let mut out = String::new();
        let y_ticks = ticks(self.y.0, self.y.1, 5);
        for &tick in &y_ticks {
            let y = self.py(tick);
            out.push_str(&line((left, y), (right, y), "grid"));
            out.push_str(&text(
                left - 6.0,
                y + 3.5,
                "muted small",
                "end",
                &tick_text(tick, &y_ticks),
            ));
        }
        let x_ticks = if self.log_x {
            log_ticks(self.x.0, self.x.1)
        } else {
            ticks(self.x.0, self.x.1, 5)
        };
        for &tick in &x_ticks {
            let x = self.px(tick);
            out.push_str(&line((x, top), (x, bottom), "grid"));
            out.push_str(&text(
                x,
                bottom + 15.0,
                "muted small",
                "middle",
                &tick_text(tick, &x_ticks),
            ));
        }
        out.push_str(&text(
            (left + right) / 2.0,
            bottom + 31.0,
            "muted small",
            "middle",
            x_name,
        ));
        out.push_str(&text(0.0, top - 8.0, "muted small", "start", y_name));
        out
    }
}

/// Returns a range that contains all finite values, with a margin on both sides.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
    if low > high {
        return (0.0, 1.0);
    }
    let pad = if high > low {
        0.06 * (high - low)
    } else {
        0.05 + 0.05 * high.abs()
    };
    (low - pad, high + pad)
}

/// Returns about `about` round values in a range.
pub fn ticks(low: f64, high: f64, about: usize) -> Vec<f64> {
    let rough = (high - low) / about as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|s| s * power)
        .into_iter()
        .find(|s| *s >= rough)
        .unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|k| k as f64 * step).collect()
}

fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let mut out = Vec::new();
    for power in -6..12 {
        for digit in [1.0, 2.0, 5.0] {
            let tick = digit * 10f64.powi(power);
            if tick >= low && tick <= high {
                out.push(tick);
            }
        }
    }
    out
}

/// Writes a tick with as many decimals as its neighbours need.
pub fn tick_text(tick: f64, all: &[f64]) -> String {
    let decimals = (0..5)
        .find(|d| {
            all.iter()
                .all(|t| ((t * 10f64.powi(*d)).round() / 10f64.powi(*d) - t).abs() < 1e-9)
        })
        .unwrap_or(5) as usize;
    let text = format!("{:.decimals$}", if tick == 0.0 { 0.0 } else { tick });
    text.replacen('-', "−", 1)
}
