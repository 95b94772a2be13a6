//! Tables of classes that a reader can sort and filter.

use super::html::{GroupTag, escape_html};
use crate::table::{percent, thousands};

/// A cell of a [`ClassTable`].
pub(crate) enum Cell {
    /// A number of things; empty if not known.
    Number(Option<u64>),
    /// A fraction, shown in percent; empty if not measured.
    Share(Option<f64>),
    /// A mean with one digit; empty without anything to average.
    Mean(Option<f64>),
    /// A group; empty if nothing decides about it.
    Group(Option<GroupTag>),
}

/// A row for each class.
pub(crate) struct ClassTable {
    header: Vec<String>,
    rows: String,
}

impl ClassTable {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: String::new() }
    }

    /// Adds a class; `link` names its place on the page.
    pub(crate) fn row(
        &mut self,
        name: &str,
        link: Option<&str>,
        group: Option<GroupTag>,
        cells: impl IntoIterator<Item = Cell>,
    ) {
        let text = escape_html(name);
        let shown = match link {
            Some(link) => format!("<a href=\"#{link}\">{text}</a>"),
            None => text.clone(),
        };
        let style = group.map_or("", |group| group.style);
        self.rows.push_str(&format!(
            "<tr data-name=\"{text}\" data-group=\"{style}\"><th scope=\"row\">{shown}</th>"
        ));
        for cell in cells {
            self.rows.push_str(&cell.html());
        }
        self.rows.push_str("</tr>\n");
    }

    pub(crate) fn html(self) -> String {
        let header: String = self
            .header
            .iter()
            .map(|name| {
                let style = if name == "group" { " class=\"text\"" } else { "" };
                format!("<th scope=\"col\"{style}>{}</th>", escape_html(name))
            })
            .collect();
        format!(
            "<div class=\"scroll\"><table class=\"classes\">\n<thead><tr>{header}</tr></thead>\n\
             <tbody>\n{}</tbody></table></div>\n",
            self.rows
        )
    }
}

impl Cell {
    fn html(self) -> String {
        match self {
            Self::Number(None) | Self::Share(None) | Self::Mean(None) => {
                "<td data-v=\"\"></td>".into()
            }
            Self::Number(Some(number)) => {
                format!("<td data-v=\"{number}\">{}</td>", thousands(number))
            }
            Self::Share(Some(share)) => {
                format!("<td data-v=\"{share:.6}\">{}</td>", percent(share))
            }
            Self::Mean(Some(mean)) => format!("<td data-v=\"{mean:.6}\">{mean:.1}</td>"),
            Self::Group(None) => "<td class=\"text\"></td>".into(),
            Self::Group(Some(group)) => {
                let order =
                    ["few", "medium", "many"].iter().position(|&style| style == group.style);
                let order = order.unwrap_or_default();
                format!("<td class=\"text\" data-v=\"{order}\">{}</td>", group.html())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longtail_types::FrequencyGroup;

    #[test]
    fn names_are_text_and_values_can_be_sorted() {
        let mut table = ClassTable::new(["class", "images", "AP, %", "group"]);
        let group = Some(FrequencyGroup::Rare.into());
        let cells = [Cell::Number(Some(1234)), Cell::Share(Some(0.5)), Cell::Group(group)];
        table.row("<script>\"", Some("c0"), group, cells);
        table.row("b", None, None, [Cell::Number(None), Cell::Mean(Some(1.25))]);
        let html = table.html();
        let expected = "<tr data-name=\"&lt;script&gt;&quot;\" data-group=\"few\"><th scope=\"row\">\
                        <a href=\"#c0\">&lt;script&gt;&quot;</a></th><td data-v=\"1234\">1,234</td>\
                        <td data-v=\"0.500000\">50.00</td>";
        assert!(html.contains(expected), "{html}");
        assert!(html.contains("<span class=\"tag few\">rare</span>"), "{html}");
        assert!(html.contains("<td data-v=\"\"></td><td data-v=\"1.250000\">1.2</td>"), "{html}");
        assert!(!html.contains("<script"));
    }
}
