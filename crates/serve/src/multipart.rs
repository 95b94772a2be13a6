//! The file of a form, as browsers and `curl -F` send it.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

use crate::problem::Problem;

/// Longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;

/// The image in a body: the one part of a `multipart/form-data` body, else the body itself.
pub(crate) fn image_of(headers: &HeaderMap, body: &Bytes) -> Result<Bytes, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Ok(body.clone());
    }
    let bad = |message: &str| Problem::bad("bad_form", message);
    let boundary = boundary(parameters).ok_or_else(|| bad("the form has no usable boundary"))?;
    let first = format!("--{boundary}\r\n");
    let between = format!("\r\n--{boundary}");
    if !body.starts_with(first.as_bytes()) {
        return Err(bad("the form does not start with its boundary"));
    }
    let head_end = find(body, b"\r\n\r\n", first.len() - 2);
    let start = head_end.ok_or_else(|| bad("the head of the form's part does not end"))? + 4;
    // An empty part ends with the line break of its head.
    let end = find(body, between.as_bytes(), start - 2);
    let end = end.ok_or_else(|| bad("the form is cut off: its part does not end"))?;
    let rest = &body[end + between.len()..];
    if !rest.starts_with(b"--") {
        return Err(bad("the form must have one part, the image"));
    }
    Ok(body.slice(start.min(end)..end))
}

fn boundary(parameters: &str) -> Option<&str> {
    let mut parameters = parameters.split(';').filter_map(|text| text.trim().split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let value = value.trim_matches('"');
    (1..=MAX_BOUNDARY).contains(&value.len()).then_some(value)
}

fn find(text: &[u8], part: &[u8], from: usize) -> Option<usize> {
    let place = text.get(from..)?.windows(part.len()).position(|window| window == part)?;
    Some(from + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(kind: &str, body: &'static str) -> Result<Bytes, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        image_of(&headers, &Bytes::from(body)).map_err(|problem| problem.code)
    }

    const FORM: &str = "multipart/form-data; boundary=\"x-y\"";

    #[test]
    fn the_part_is_found() {
        assert_eq!(image("image/png", "\r\n--x"), Ok("\r\n--x".into()));
        assert_eq!(image_of(&HeaderMap::new(), &"abc".into()).unwrap(), "abc");
        let head = "Content-Disposition: form-data; name=\"image\"; filename=\"a.png\"";
        for content in ["pixels", "", "pixels--x-y", "\r\n\r\n--x-", "\r\n"] {
            let body = format!("--x-y\r\n{head}\r\n\r\n{content}\r\n--x-y--\r\n");
            let found = image(FORM, Box::leak(body.into_boxed_str()));
            assert_eq!(found, Ok(content.into()), "{content:?}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for body in [
            "",
            "--x-y",
            "--x-y\r\n",
            "--x-y\r\nName: a\r\n\r\n",
            "--x-y\r\nName: a\r\n\r\npixels",
            "--x-y\r\nName: a\r\n\r\npixels\r\n--x-y",
            "--x-y\r\nName: a\r\n\r\npixels\r\n--x-y\r\nName: b\r\n\r\nmore\r\n--x-y--",
            "pixels",
        ] {
            assert_eq!(image(FORM, body), Err("bad_form"), "{body:?}");
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        for kind in ["multipart/form-data", "Multipart/Form-Data; boundary=", &long] {
            assert_eq!(image(kind, "--\r\n\r\n\r\n\r\n--"), Err("bad_form"), "{kind}");
        }
    }
}
