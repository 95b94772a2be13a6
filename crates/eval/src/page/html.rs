//! The frame of a page, and texts made safe for it.

use longtail_types::{FrequencyGroup, ShotGroup};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A text as HTML shows it, between tags and in quoted attributes alike: `<b>` becomes
/// `&lt;b&gt;`. Characters that a page may not hold become `U+FFFD`.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            _ if c.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A whole page; `body` is HTML, `title` is text.
pub(crate) fn document(title: &str, body: &str) -> String {
    let title = escape_html(title);
    // The policy keeps a page from fetching anything, whatever a name in it may hold.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\
         </main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n"
    )
}

/// Headline and a line under it.
pub(crate) fn headline(title: &str, subtitle: &str) -> String {
    let (title, subtitle) = (escape_html(title), escape_html(subtitle));
    format!("<header>\n<h1>{title}</h1>\n<p class=\"sub\">{subtitle}</p>\n</header>\n")
}

/// Large numbers side by side, each with its name: (number, name, class of style).
pub(crate) fn tiles(tiles: &[(String, String, &str)]) -> String {
    let mut html = "<dl class=\"tiles\">\n".to_string();
    for (number, name, class) in tiles {
        let (number, name) = (escape_html(number), escape_html(name));
        html.push_str(&format!(
            "<div class=\"tile {class}\"><dt>{name}</dt><dd>{number}</dd></div>\n"
        ));
    }
    html + "</dl>\n"
}

/// A heading of the second order that links can name.
pub(crate) fn section(id: &str, title: &str) -> String {
    format!("<h2 id=\"{id}\">{}</h2>\n", escape_html(title))
}

/// A plot; `svg` is trusted: it comes from this crate.
pub(crate) fn figure(svg: &str) -> String {
    let inline = svg.find("<svg").map_or(svg, |start| &svg[start..]);
    format!("<figure class=\"plot\">{inline}</figure>\n")
}

/// Notes, one line each; nothing without notes.
pub(crate) fn notes(lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: String =
        lines.iter().map(|line| format!("<li>{}</li>\n", escape_html(line))).collect();
    format!("<ul class=\"notes\">\n{lines}</ul>\n")
}

/// A group of classes: the style it has, and what it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupTag {
    pub(crate) style: &'static str,
    pub(crate) name: &'static str,
}

impl From<ShotGroup> for GroupTag {
    fn from(group: ShotGroup) -> Self {
        let style = match group {
            ShotGroup::Many => "many",
            ShotGroup::Medium => "medium",
            ShotGroup::Few => "few",
        };
        Self { style, name: style }
    }
}

impl From<FrequencyGroup> for GroupTag {
    fn from(group: FrequencyGroup) -> Self {
        let (style, name) = match group {
            FrequencyGroup::Frequent => ("many", "frequent"),
            FrequencyGroup::Common => ("medium", "common"),
            FrequencyGroup::Rare => ("few", "rare"),
        };
        Self { style, name }
    }
}

impl GroupTag {
    pub(crate) fn html(self) -> String {
        format!("<span class=\"tag {}\">{}</span>", self.style, self.name)
    }
}

/// A search field and a box to tick for each group; shown where JavaScript runs.
pub(crate) fn filter(groups: &[GroupTag]) -> String {
    let ticks: String = groups
        .iter()
        .map(|group| {
            format!(
                "<label><input type=\"checkbox\" data-group=\"{}\" checked>{}</label>\n",
                group.style,
                group.html()
            )
        })
        .collect();
    format!(
        "<form class=\"filter\" hidden>\n<input type=\"search\" placeholder=\"name of a class\" \
         aria-label=\"Show classes whose name contains\">\n{ticks}<output></output>\n</form>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_tags_or_leave_an_attribute() {
        let escaped = escape_html("<script>alert('1')</script> & \"é\"\u{0}\u{1b}\n");
        let expected = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;é&quot;\
                        \u{fffd}\u{fffd} ";
        assert_eq!(escaped, expected);
        let page = document("<title>", &headline("a<b", "\"c\""));
        assert!(page.contains("<title>&lt;title&gt;</title>"));
        assert!(page.contains("<h1>a&lt;b</h1>") && page.contains("&quot;c&quot;"));
    }

    #[test]
    fn a_page_fetches_nothing() {
        let page = document("title", &figure("<?xml?><svg xmlns=\"http://www.w3.org/2000/svg\"/>"));
        let rest = page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "");
        for part in ["http:", "https:", "src=", "@import", "url(", "<link"] {
            assert!(!rest.contains(part), "{part}");
        }
        assert!(
            page.contains("<figure class=\"plot\"><svg") && page.contains("default-src 'none'")
        );
    }
}
