//! Pictures inside a page.

use super::html::escape_html;

/// Pictures of at most half this many pixels are shown larger, by whole factors.
const SHOWN: usize = 96;

/// A picture inside a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The JPEG file.
    pub jpeg: Vec<u8>,
    /// `[height, width]` in pixels.
    pub size: [usize; 2],
    /// What stands under it; several lines are allowed.
    pub caption: Vec<String>,
    /// What is shown when the pointer rests on it, for example its file.
    pub title: String,
}

impl Picture {
    /// Bytes that it takes in a page, without its texts.
    pub fn num_bytes(&self) -> usize {
        self.jpeg.len().div_ceil(3) * 4
    }

    pub(crate) fn html(&self) -> String {
        // A picture of 32 pixels, as of CIFAR, is shown three times as large.
        let factor = (SHOWN / self.size[0].max(self.size[1]).max(1)).max(1);
        let [height, width] = self.size.map(|side| factor * side);
        let style = if factor > 1 { " class=\"small\"" } else { "" };
        let caption: Vec<String> = self.caption.iter().map(|line| escape_html(line)).collect();
        let (title, data) = (escape_html(&self.title), base64(&self.jpeg));
        let caption = match caption.is_empty() {
            true => String::new(),
            false => format!("<figcaption>{}</figcaption>", caption.join("<br>")),
        };
        format!(
            "<figure class=\"pic\"><img{style} loading=\"lazy\" decoding=\"async\" width=\"{width}\" \
             height=\"{height}\" alt=\"{title}\" title=\"{title}\" \
             src=\"data:image/jpeg;base64,{data}\">{caption}</figure>\n"
        )
    }
}

/// Pictures in a row that wraps.
pub(crate) fn pictures(pictures: &[Picture]) -> String {
    let inside: String = pictures.iter().map(Picture::html).collect();
    format!("<div class=\"pics\">\n{inside}</div>\n")
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        // RFC 4648, section 10.
        for (text, code) in [
            ("", ""),
            ("f", "Zg=="),
            ("of", "b2Y="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), code);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn captions_are_text() {
        let picture = Picture {
            jpeg: vec![1, 2, 3, 4],
            size: [20, 10],
            caption: vec!["<img src=x>".into(), "0.75".into()],
            title: "a\"b.jpg".into(),
        };
        let html = picture.html();
        assert!(html.contains("<figcaption>&lt;img src=x&gt;<br>0.75</figcaption>"), "{html}");
        // 20 pixels are shown as 80: four times, as five would be more than 96.
        let size = "class=\"small\" loading=\"lazy\" decoding=\"async\" width=\"40\" height=\"80\"";
        assert!(html.contains("alt=\"a&quot;b.jpg\"") && html.contains(size), "{html}");
        assert_eq!(picture.num_bytes(), 8);
        let html = Picture { size: [49, 144], ..picture }.html();
        assert!(html.contains("<img loading=\"lazy\" decoding=\"async\" width=\"144\""), "{html}");
    }
}
