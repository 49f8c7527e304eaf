//! A bar chart of ratios to Kafka as SVG: one group per figure, one bar per peer, a line where Kafka is.
//!
//! The axis is logarithmic, because a ratio of 4 and one of 1/4 are equally far from 1; and every bar that goes to the
//! right is better than Kafka, whatever the figure: a rate is divided by Kafka's, a cost divides Kafka's.

use crate::report::{Report, number};

const WIDTH: f64 = 1040.0;
const LABELS: f64 = 430.0;
/// Room right of the axis for what is written beside a bar.
const MARGIN: f64 = 70.0;
const TOP: f64 = 84.0;
const BAR: f64 = 13.0;
const GAP: f64 = 9.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#17a398", "#8c6bb1", "#8c8c8c"];

/// A bar: how many times better than Kafka.
struct Group<'a> {
    label: String,
    bars: Vec<(&'a str, f64)>,
}

/// Draws the figures named by `keys`; those without a ratio are left out. None where nothing has one.
pub fn svg(report: &Report, keys: &[&str]) -> Option<String> {
    let peers: Vec<&str> = report.challengers().collect();
    let groups: Vec<Group<'_>> = report
        .rows()
        .into_iter()
        .filter(|row| keys.contains(&row.key.as_str()))
        .filter_map(|row| {
            let better = |ratio: f64| if row.more_is_better() { ratio } else { 1.0 / ratio };
            let bars: Vec<(&str, f64)> = peers
                .iter()
                .filter_map(|peer| Some((*peer, better(report.ratio(&row.key, peer)?))))
                .filter(|(_, times)| times.is_finite() && *times > 0.0)
                .collect();
            (!bars.is_empty()).then(|| Group { label: format!("{}, {}", row.label, row.unit), bars })
        })
        .collect();
    // Whole powers of two around what there is, and Kafka's line always inside.
    let powers = || groups.iter().flat_map(|g| &g.bars).map(|(_, times)| times.log2());
    let (low, high) = (powers().fold(-1.0, f64::min).floor(), powers().fold(1.0, f64::max).ceil());
    if groups.is_empty() {
        return None;
    }
    let x = |times: f64| LABELS + (times.log2() - low) / (high - low) * (WIDTH - LABELS - MARGIN);

    let bars: usize = groups.iter().map(|g| g.bars.len()).sum();
    let bottom = TOP + bars as f64 * BAR + groups.len() as f64 * GAP;
    let height = bottom + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    svg += &text(12.0, 22.0, "start", "How many times better than Apache Kafka in the same run");
    svg += &text(12.0, 40.0, "start", "right of 1: better; logarithmic");
    for (n, peer) in peers.iter().enumerate() {
        let at = LABELS + 60.0 + 170.0 * n as f64;
        svg += &rect(at, 30.0, 12.0, colour(n));
        svg += &text(at + 18.0, 40.0, "start", peer);
    }
    // At most ten ticks, and one of them at Kafka's 1.
    let step = ((high - low) / 10.0).ceil() as i32;
    for power in (low as i32..=high as i32).filter(|power| power % step == 0) {
        let at = x(2f64.powi(power));
        let (stroke, width) = if power == 0 { ("#333333", 1.5) } else { ("#dddddd", 1.0) };
        let label = if power < 0 { format!("1/{}", 1u64 << -power) } else { (1u64 << power).to_string() };
        svg += &text(at, TOP - 12.0, "middle", &label);
        svg += &format!(
            "<line x1=\"{at:.1}\" y1=\"{}\" x2=\"{at:.1}\" y2=\"{bottom:.1}\" stroke=\"{stroke}\" \
             stroke-width=\"{width}\"/>\n",
            TOP - 6.0
        );
    }
    let mut y = TOP;
    for group in &groups {
        let middle = y + group.bars.len() as f64 * BAR / 2.0 + 4.0;
        svg += &text(LABELS - 14.0, middle, "end", &group.label);
        for (peer, times) in &group.bars {
            let (from, to) = (x(times.min(1.0)), x(times.max(1.0)));
            let n = peers.iter().position(|p| p == peer).unwrap_or(0);
            svg += &rect(from, y + 1.0, (to - from).max(1.0), colour(n));
            svg += &text(to + 5.0, y + BAR - 2.0, "start", &number(*times));
            y += BAR;
        }
        y += GAP;
    }
    Some(svg + "</svg>\n")
}

fn colour(n: usize) -> &'static str {
    COLOURS[n % COLOURS.len()]
}

fn rect(x: f64, y: f64, width: f64, fill: &str) -> String {
    let height = BAR - 2.0;
    format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{fill}\"/>\n")
}

fn text(x: f64, y: f64, anchor: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222222\">{words}</text>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure;

    #[test]
    fn better_goes_right_for_rates_and_for_costs() {
        let mut report = Report::default();
        let figures = |rate, cost| {
            vec![figure("a.rate", "rate", "MiB/s", rate), figure("a.cost", "cost <&>", "ms", cost)]
        };
        report.add("given", figures(300.0, 5.0));
        report.add("kafka", figures(100.0, 20.0));
        let drawn = svg(&report, &["a.rate", "a.cost"]).unwrap();
        assert!(drawn.contains(">3.00</text>") && drawn.contains(">4.00</text>"), "{drawn}");
        assert!(drawn.contains("cost &lt;&amp;&gt;, ms"), "{drawn}");
        assert_eq!(drawn.matches("fill=\"#1f77b4\"").count(), 3, "the legend and two bars");
        assert_eq!(svg(&report, &["a.other"]), None);
    }
}
