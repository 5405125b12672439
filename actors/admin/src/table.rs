//! A table as the command line prints it.

/// Returns `rows` under `heads`, a line each, in columns as wide as their longest cell. The last
/// line has no end.
pub fn table<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows);
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines = lines.iter().map(|line| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = [["größe", "1"], ["x", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(["A", "NUMBER"], rows), "A      NUMBER\ngröße  1\nx");
        assert_eq!(table(["A"], []), "A");
    }
}
