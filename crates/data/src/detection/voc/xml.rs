//! One XML file of Pascal VOC.

use quick_xml::Reader;
use quick_xml::events::Event;

/// What a file says about its image.
#[derive(Debug, Default, PartialEq)]
pub(super) struct VocImage {
    /// Empty without one.
    pub(super) file_name: String,
    pub(super) width: Option<u64>,
    pub(super) height: Option<u64>,
    pub(super) objects: Vec<VocObject>,
}

/// One `object`. Its `part`s are read over.
#[derive(Debug, Default, PartialEq)]
pub(super) struct VocObject {
    pub(super) name: Option<String>,
    pub(super) is_difficult: bool,
    /// `[xmin, ymin, xmax, ymax]`
    borders: [Option<f64>; 4],
    /// The first value that is none.
    wrong: Option<String>,
}

impl VocObject {
    /// `[xmin, ymin, xmax, ymax]` as written, or why there is no box.
    pub(super) fn borders(&self) -> Result<[f64; 4], String> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let mut borders = [0.0; 4];
        for (place, border) in borders.iter_mut().enumerate() {
            let missing = || format!("{} is missing", BORDERS[place]);
            *border = self.borders[place].ok_or_else(missing)?;
        }
        Ok(borders)
    }
}

const BORDERS: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];

/// Parses a file.
///
/// # Errors
/// If it is not XML or ends too early, with the line.
pub(super) fn parse(text: &str) -> Result<VocImage, String> {
    let mut reader = Reader::from_str(text);
    let (mut path, mut content) = (Vec::<String>::new(), String::new());
    let mut image = VocImage::default();
    loop {
        let event = reader.read_event().map_err(|error| {
            let bytes = (reader.error_position() as usize).min(text.len());
            format!("line {}: not valid XML: {error}", line_of(text, bytes))
        })?;
        match event {
            Event::Start(start) => {
                path.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                content.clear();
                if is_object(&path) {
                    image.objects.push(VocObject::default());
                }
            }
            Event::Text(part) => content.push_str(&part.decode().unwrap_or_default()),
            Event::CData(part) => content.push_str(&part.decode().unwrap_or_default()),
            Event::GeneralRef(part) => {
                let name = part.decode().unwrap_or_default();
                let known = part.resolve_char_ref().ok().flatten().map(String::from);
                let entity = || quick_xml::escape::resolve_predefined_entity(&name);
                content
                    .push_str(&known.or_else(|| entity().map(str::to_owned)).unwrap_or_default());
            }
            Event::End(_) => {
                image.set(&path, content.trim());
                content.clear();
                path.pop();
                if path.is_empty() {
                    return Ok(image);
                }
            }
            Event::Eof => {
                let open = path.last().map(|name| format!(" in <{name}>")).unwrap_or_default();
                let line = line_of(text, text.len());
                return Err(format!("line {line}: the file ends too early{open}"));
            }
            _ => {}
        }
    }
}

fn line_of(text: &str, bytes: usize) -> usize {
    1 + text.as_bytes()[..bytes].iter().filter(|&&byte| byte == b'\n').count()
}

fn is_object(path: &[String]) -> bool {
    path.len() == 2 && path[1] == "object"
}

impl VocImage {
    /// Stores the content of the element at `path`, if it is one of those needed.
    fn set(&mut self, path: &[String], content: &str) {
        let path: Vec<&str> = path.iter().skip(1).map(String::as_str).collect();
        let object = self.objects.last_mut();
        match (path.as_slice(), object) {
            (["filename"], _) => content.clone_into(&mut self.file_name),
            (["size", "width"], _) => self.width = content.parse().ok(),
            (["size", "height"], _) => self.height = content.parse().ok(),
            (["object", "name"], Some(object)) if !content.is_empty() => {
                object.name = Some(content.to_owned());
            }
            (["object", "difficult"], Some(object)) => {
                object.is_difficult = ["1", "true", "True"].contains(&content);
            }
            (["object", "bndbox", border], Some(object)) => {
                let Some(place) = BORDERS.iter().position(|name| name == border) else { return };
                match content.parse::<f64>().ok().filter(|value| value.is_finite()) {
                    Some(value) => object.borders[place] = Some(value),
                    None => {
                        let wrong = format!("{border} must be a number, got {content:?}");
                        object.wrong.get_or_insert(wrong);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_not_objects_and_entities_are_resolved() {
        let text = "<?xml version='1.0'?><annotation><filename>a &amp; b.jpg</filename>
            <size><width>50</width><height>40</height><depth>3</depth></size>
            <object><name>person</name><difficult>1</difficult>
              <bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>
              <part><name>head</name><bndbox><xmin>9</xmin><ymin>9</ymin></bndbox></part>
            </object><object><bndbox><xmin>x</xmin></bndbox></object></annotation>";
        let image = parse(text).unwrap();
        assert_eq!(
            (image.file_name.as_str(), image.width, image.height),
            ("a & b.jpg", Some(50), Some(40))
        );
        let [person, other] = image.objects.as_slice() else { panic!("{:?}", image.objects) };
        assert_eq!((person.name.as_deref(), person.is_difficult), (Some("person"), true));
        assert_eq!(person.borders(), Ok([1.0, 2.5, 3.0, 4.0]));
        assert_eq!(other.name, None);
        assert_eq!(other.borders(), Err("xmin must be a number, got \"x\"".to_owned()));
    }

    #[test]
    fn broken_files_are_named_with_their_line() {
        let error = |text| parse(text).unwrap_err();
        assert_eq!(error("<annotation>\n<size>\n"), "line 3: the file ends too early in <size>");
        assert_eq!(error(""), "line 1: the file ends too early");
        assert!(error("<annotation>\n<a></b>").starts_with("line 2: not valid XML: "));
    }
}
