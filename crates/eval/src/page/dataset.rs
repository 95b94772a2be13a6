//! A page about a data set: numbers, classes, pictures, problems.

use longtail_types::{ClassCounts, ClassMap, FrequencyGroup, ShotGroup, ShotThresholds};

use super::{
    html::{GroupTag, document, escape_html, figure, filter, headline, notes, section, tiles},
    picture::{Picture, pictures},
    table::{Cell, ClassTable},
};
use crate::{
    BoxShapes, EvalError, class_distribution_svg,
    plot::frequency_distribution_svg,
    table::{plural, thousands},
};

/// What a page shows of a data set. Names may hold anything: they are shown as text.
#[derive(Debug, Clone)]
pub struct DatasetPage<'a> {
    /// What the set is called.
    pub title: String,
    /// Where it comes from, in words.
    pub source: String,
    /// Its classes.
    pub classes: &'a ClassMap,
    /// Images and objects of each class.
    pub counts: &'a ClassCounts,
    /// Shapes of its boxes; `None` for a set without boxes, whose groups are many, medium and few
    /// instead of LVIS's.
    pub shapes: Option<BoxShapes>,
    /// Further numbers beside those of the counts: (number, name).
    pub facts: Vec<(String, String)>,
    /// What is wrong with it, by kind.
    pub problems: Vec<ProblemGroup>,
    /// Pictures of its classes, in the order in which they are shown.
    pub examples: Vec<ClassExamples>,
    /// What a reader must know: what was left out, what could not be read.
    pub notes: Vec<String>,
}

/// Pictures of one class.
#[derive(Debug, Clone)]
pub struct ClassExamples {
    /// The class.
    pub label: usize,
    /// Pictures of it.
    pub pictures: Vec<Picture>,
}

/// Problems of one kind.
#[derive(Debug, Clone)]
pub struct ProblemGroup {
    /// The kind in a few words.
    pub name: String,
    /// Whether the set is refused because of it.
    pub is_error: bool,
    /// How many there are.
    pub count: usize,
    /// The first of them: place and message.
    pub first: Vec<String>,
}

impl DatasetPage<'_> {
    /// The page, whole.
    ///
    /// # Errors
    /// If `classes` and `counts` differ in length, or the plotting library fails.
    pub fn html(&self) -> Result<String, EvalError> {
        let (found, expected) = (self.classes.len(), self.counts.num_classes());
        if found != expected {
            return Err(EvalError::ClassMismatch { what: "the class map", found, expected });
        }
        let mut body = headline(&self.title, &self.source);
        body.push_str(&tiles(&self.tiles()));
        body.push_str(&notes(&self.notes));
        body.push_str(&section("distribution", "Classes from frequent to rare"));
        body.push_str(&figure(&self.distribution()?));
        if self.shapes.is_some() && self.has_other_flags() {
            body.push_str(
                "<p class=\"hint\">The plot goes by the number of images in this file; tables and \
                 numbers follow the file's own flags of rare, common and frequent classes.</p>\n",
            );
        }
        if let Some(shapes) = &self.shapes {
            body.push_str(&section("boxes", "Boxes"));
            body.push_str(&figure(&shapes.svg()?));
        }
        body.push_str(&self.problem_list());
        body.push_str(&section("classes", "All classes"));
        body.push_str(&filter(&self.group_tags()));
        body.push_str(&self.table());
        body.push_str(&self.gallery());
        Ok(document(&self.title, &body))
    }

    fn distribution(&self) -> Result<String, EvalError> {
        match self.shapes {
            Some(_) => {
                frequency_distribution_svg("Images of each class", self.classes, self.counts)
            }
            None => {
                let shots = ShotThresholds::default();
                class_distribution_svg("Images of each class", self.classes, self.counts, shots)
            }
        }
    }

    fn group_tags(&self) -> Vec<GroupTag> {
        match self.shapes {
            Some(_) => {
                use FrequencyGroup::{Common, Frequent, Rare};
                [Frequent, Common, Rare].map(GroupTag::from).into()
            }
            None => {
                use ShotGroup::{Few, Many, Medium};
                [Many, Medium, Few].map(GroupTag::from).into()
            }
        }
    }

    /// The file's own flag where it has one, else by the number of images.
    fn group(&self, label: usize) -> GroupTag {
        let images = self.images(label);
        match self.shapes {
            Some(_) => self.classes.frequency(label).unwrap_or(FrequencyGroup::of(images)).into(),
            None => ShotThresholds::default().group(images).into(),
        }
    }

    /// Whether the file calls a class rare or frequent that is not so by its number of images here,
    /// as in a part of a larger set.
    fn has_other_flags(&self) -> bool {
        (0..self.classes.len()).any(|label| {
            let flag = self.classes.frequency(label);
            flag.is_some_and(|flag| flag != FrequencyGroup::of(self.images(label)))
        })
    }

    fn images(&self, label: usize) -> u64 {
        self.counts.image_counts().get(label).copied().unwrap_or_default()
    }

    fn objects(&self, label: usize) -> u64 {
        self.counts.instance_counts().get(label).copied().unwrap_or_default()
    }

    fn tiles(&self) -> Vec<(String, String, &'static str)> {
        let counts = self.counts;
        let mut tiles = vec![(thousands(counts.num_classes() as u64), "classes".into(), "")];
        let images = if self.shapes.is_some() { "images with objects" } else { "images" };
        tiles.push((thousands(counts.num_images()), images.into(), ""));
        if self.shapes.is_some() {
            tiles.push((thousands(counts.num_instances()), "objects".into(), ""));
        }
        tiles.extend(self.facts.iter().map(|(number, name)| (number.clone(), name.clone(), "")));
        if let Some(factor) = counts.imbalance_factor() {
            tiles.push((thousands(factor.round() as u64), "imbalance: most over least".into(), ""));
        }
        tiles.push((format!("{:.2}", counts.gini()), "Gini of the images".into(), ""));
        for tag in self.group_tags() {
            let members = (0..counts.num_classes()).filter(|&label| self.group(label) == tag);
            let name = format!("{} classes", tag.name);
            tiles.push((thousands(members.count() as u64), name, tag.style));
        }
        tiles
    }

    fn problem_list(&self) -> String {
        if self.shapes.is_none() && self.problems.is_empty() {
            return String::new();
        }
        let mut html = section("problems", "Problems in the annotations");
        if self.problems.is_empty() {
            html.push_str("<p>Nothing is wrong.</p>\n");
        }
        for group in &self.problems {
            let (style, rank) = if group.is_error { ("error", "error") } else { ("note", "note") };
            let (name, count) = (escape_html(&group.name), thousands(group.count as u64));
            html.push_str(&format!(
                "<details class=\"problems\"><summary><span class=\"{style}\">{rank}</span> \
                 {name} ({count})</summary>\n<ul>\n"
            ));
            for line in &group.first {
                html.push_str(&format!("<li>{}</li>\n", escape_html(line)));
            }
            let left = group.count.saturating_sub(group.first.len());
            if left > 0 {
                html.push_str(&format!("<li>… and {} more</li>\n", thousands(left as u64)));
            }
            html.push_str("</ul></details>\n");
        }
        html
    }

    fn table(&self) -> String {
        let has_objects = self.shapes.is_some();
        let mut header = vec!["class", "images"];
        if has_objects {
            header.extend(["objects", "per image"]);
        }
        header.push("group");
        let mut table = ClassTable::new(header);
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by_key(|&label| std::cmp::Reverse(self.images(label)));
        let shown: Vec<usize> = self.examples.iter().map(|examples| examples.label).collect();
        for label in order {
            let (images, objects) = (self.images(label), self.objects(label));
            let group = self.group(label);
            let mut cells = vec![Cell::Number(Some(images))];
            if has_objects {
                cells.push(Cell::Number(Some(objects)));
                let mean = objects as f64 / images.max(1) as f64;
                cells.push(Cell::Mean((images > 0).then_some(mean)));
            }
            cells.push(Cell::Group(Some(group)));
            let link = shown.contains(&label).then(|| format!("c{label}"));
            let name = self.classes.name(label).unwrap_or_default();
            table.row(name, link.as_deref(), Some(group), cells);
        }
        table.html()
    }

    fn gallery(&self) -> String {
        if self.examples.is_empty() {
            return String::new();
        }
        let mut html = section("examples", "Examples");
        for ClassExamples { label, pictures: shown } in &self.examples {
            let name = escape_html(self.classes.name(*label).unwrap_or_default());
            let group = self.group(*label);
            let mut count = plural(self.images(*label), "image", "images");
            if self.shapes.is_some() {
                let objects = plural(self.objects(*label), "object", "objects");
                count = format!("{count}, {objects}");
            }
            html.push_str(&format!(
                "<section class=\"class\" id=\"c{label}\" data-name=\"{name}\" \
                 data-group=\"{}\">\n<header><h3>{name}</h3>{}<span class=\"count\">{count}</span>\
                 </header>\n{}</section>\n",
                group.style,
                group.html(),
                pictures(shown),
            ));
        }
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'a>(classes: &'a ClassMap, counts: &'a ClassCounts) -> DatasetPage<'a> {
        let picture = Picture {
            jpeg: vec![0xff, 0xd8],
            size: [10, 20],
            caption: vec!["a&b.jpg".into()],
            title: "a&b.jpg".into(),
        };
        DatasetPage {
            title: "birds".into(),
            source: "a folder".into(),
            classes,
            counts,
            shapes: Some(BoxShapes::default()),
            facts: vec![("7".into(), "images without objects".into())],
            problems: vec![ProblemGroup {
                name: "boxes over the border".into(),
                is_error: false,
                count: 3,
                first: vec!["annotations[1]: <x>".into()],
            }],
            examples: vec![ClassExamples { label: 1, pictures: vec![picture] }],
            notes: vec!["2 pictures are left out".into()],
        }
    }

    #[test]
    fn names_numbers_problems_and_pictures_are_shown() {
        let classes = ClassMap::from_names(["owl", "<script>alert(1)</script>"]).unwrap();
        let counts = ClassCounts::new(vec![150, 4], vec![300, 6], 152).unwrap();
        let html = page(&classes, &counts).html().unwrap();
        assert_eq!(html.matches("<script>").count(), 1, "only the script of the page itself");
        for part in [
            "<h3>&lt;script&gt;alert(1)&lt;/script&gt;</h3><span class=\"tag few\">rare</span>",
            "<span class=\"count\">4 images, 6 objects</span>",
            "<a href=\"#c1\">&lt;script&gt;alert(1)&lt;/script&gt;</a>",
            "<dt>images with objects</dt><dd>152</dd>",
            "<dt>rare classes</dt><dd>1</dd>",
            "<li>2 pictures are left out</li>",
            "<span class=\"note\">note</span> boxes over the border (3)",
            "<li>annotations[1]: &lt;x&gt;</li>",
            "<li>… and 2 more</li>",
            "src=\"data:image/jpeg;base64,/9g=\"",
            "<figcaption>a&amp;b.jpg</figcaption>",
            "<svg",
        ] {
            assert!(html.contains(part), "{part} is not in the page");
        }
    }

    #[test]
    fn flags_that_differ_from_the_counts_are_explained() {
        let class = |id: u64, group| (id, format!("class {id}"), Some(group));
        let counts = ClassCounts::new(vec![150, 4], vec![300, 6], 152).unwrap();
        for (second, is_explained) in
            [(FrequencyGroup::Rare, false), (FrequencyGroup::Common, true)]
        {
            let classes = [class(1, FrequencyGroup::Frequent), class(2, second)];
            let classes = ClassMap::from_ids(classes).unwrap();
            let html = page(&classes, &counts).html().unwrap();
            assert_eq!(html.contains("class=\"hint\""), is_explained);
        }
    }

    #[test]
    fn a_set_without_boxes_has_the_other_groups_and_no_problems() {
        let classes = ClassMap::from_names(["owl", "wren"]).unwrap();
        let counts = ClassCounts::from_labels([0, 0, 1], 2).unwrap();
        let page = DatasetPage {
            shapes: None,
            problems: Vec::new(),
            examples: Vec::new(),
            ..page(&classes, &counts)
        };
        let html = page.html().unwrap();
        assert!(html.contains("<dt>few classes</dt><dd>2</dd>"), "{html}");
        assert!(
            !html.contains("Problems in the annotations") && !html.contains("<dt>objects</dt>")
        );
        let other = ClassMap::from_names(["owl"]).unwrap();
        let page = DatasetPage { classes: &other, ..page };
        assert!(page.html().unwrap_err().to_string().contains("the class map has 1 classes"));
    }
}
