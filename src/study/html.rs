//! Text as HTML takes it.

/// With everything that means something in HTML taken apart, in text and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A cell of a table's row.
#[derive(Debug)]
pub(crate) enum Td {
    Words(String),
    Number(String),
}

/// What stands above a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Th {
    Words(&'static str),
    Number(&'static str),
}

/// A table that scrolls by itself where it is wider than the page.
pub(crate) fn table(head: &[Th], rows: impl IntoIterator<Item = Vec<Td>>) -> String {
    let head: String = head
        .iter()
        .map(|name| match name {
            Th::Words(name) => format!("<th scope=\"col\">{}</th>", escaped(name)),
            Th::Number(name) => format!("<th scope=\"col\" class=\"n\">{}</th>", escaped(name)),
        })
        .collect();
    let rows: String = rows.into_iter().map(row).collect();
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n"
    )
}

fn row(cells: Vec<Td>) -> String {
    let cells: String = cells
        .iter()
        .map(|cell| match cell {
            Td::Words(text) => format!("<td>{}</td>", escaped(text)),
            Td::Number(text) => format!("<td class=\"n\">{}</td>", escaped(text)),
        })
        .collect();
    format!("<tr>{cells}</tr>\n")
}

/// A paragraph.
pub(crate) fn p(text: &str) -> String {
    format!("<p>{}</p>\n", escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_becomes_markup() {
        let text = "<script>\"a\" & 'b'";
        assert_eq!(
            escaped(text),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;"
        );
        let table = table(
            &[Th::Words("<th>")],
            [vec![
                Td::Words("<td>".to_owned()),
                Td::Number("&".to_owned()),
            ]],
        );
        assert!(table.contains("&lt;th&gt;") && table.contains("&lt;td&gt;"));
        assert!(table.contains("<td class=\"n\">&amp;</td>"));
        assert!(p("<").contains("<p>&lt;</p>"));
    }
}
