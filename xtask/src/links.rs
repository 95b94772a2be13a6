//! `cargo xtask links`: every link of the guide and of the other Markdown files leads somewhere.
//!
//! Links to files, to headings, and to this repository on the web are looked up in the tree; other
//! addresses are left alone, so that the check needs no network.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::process;

/// Where files of this repository are on the web.
const WEB: [&str; 2] = [
    "https://github.com/burn-longtail/burn-longtail/blob/main/",
    "https://github.com/burn-longtail/burn-longtail/tree/main/",
];

/// The list of the guide's pages.
const SUMMARY: &str = "docs/src/SUMMARY.md";

/// What a Markdown file offers and asks for.
#[derive(Debug, Default)]
struct Page {
    anchors: BTreeSet<String>,
    /// Line and target.
    links: Vec<(usize, String)>,
}

/// Checks the Markdown files of this workspace.
pub(crate) fn run() -> Result<()> {
    let root = process::workspace_root();
    let mut pages = BTreeMap::new();
    for file in markdown_files()? {
        let text = fs::read_to_string(root.join(&file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        pages.insert(file, page(&text));
    }
    let mut found = problems(&pages, |path| root.join(path).exists());
    found.extend(unlisted(&pages));
    if !found.is_empty() {
        bail!("{} broken links:\n{}", found.len(), found.join("\n"));
    }
    let num_links: usize = pages.values().map(|page| page.links.len()).sum();
    println!("{num_links} links of {} Markdown files", pages.len());
    Ok(())
}

/// Files that git tracks, and new ones that it does not ignore.
fn markdown_files() -> Result<Vec<PathBuf>> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"];
    let output = process::command("git").args(args).output().context("cannot start `git`")?;
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let root = process::workspace_root();
    Ok(names.lines().map(PathBuf::from).filter(|path| root.join(path).exists()).collect())
}

fn page(text: &str) -> Page {
    let mut page = Page::default();
    let mut uses: HashMap<String, usize> = HashMap::new();
    let mut heading: Option<String> = None;
    let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let anchor = anchor(&heading.take().unwrap_or_default());
                let uses = uses.entry(anchor.clone()).or_default();
                let numbered = if *uses == 0 { anchor } else { format!("{anchor}-{uses}") };
                page.anchors.insert(numbered);
                *uses += 1;
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.links.push((line_of(range.start), dest_url.into_string()));
            }
            _ => {}
        }
    }
    page
}

/// The name by which GitHub and mdBook know a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|char| match char {
        ' ' => Some('-'),
        '-' | '_' => Some(char),
        _ => char.is_alphanumeric().then_some(char),
    });
    kept.flat_map(char::to_lowercase).collect()
}

fn problems(pages: &BTreeMap<PathBuf, Page>, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (file, page) in pages {
        for (line, link) in &page.links {
            if let Some(problem) = problem(file, link, pages, &exists) {
                found.push(format!("{}:{line}: {link}: {problem}", file.display()));
            }
        }
    }
    found
}

fn problem(
    file: &Path,
    link: &str,
    pages: &BTreeMap<PathBuf, Page>,
    exists: impl Fn(&Path) -> bool,
) -> Option<&'static str> {
    let (address, anchor) = link.split_once('#').unwrap_or((link, ""));
    let on_web = WEB.iter().find_map(|web| address.strip_prefix(web));
    let target = match on_web {
        Some(path) => PathBuf::from(path),
        None if address.contains("://") || address.starts_with("mailto:") => return None,
        None if address.is_empty() => file.to_path_buf(),
        None => match resolved(file.parent().unwrap_or(Path::new("")), address) {
            Some(path) => path,
            None => return Some("leads out of the repository"),
        },
    };
    if !exists(&target) {
        return Some("no such file");
    }
    let known = || pages.get(&target).is_none_or(|page| page.anchors.contains(anchor));
    (!anchor.is_empty() && !known()).then_some("no such heading")
}

/// A path relative to a folder, without `..`.
fn resolved(folder: &Path, address: &str) -> Option<PathBuf> {
    let mut path = folder.to_path_buf();
    for component in Path::new(address).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir if path.pop() => {}
            Component::CurDir => {}
            _ => return None,
        }
    }
    Some(path)
}

/// Pages of the guide that its summary does not name, and that the book would not hold.
fn unlisted(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let summary = Path::new(SUMMARY);
    let guide = summary.parent().unwrap_or(summary);
    let listed: BTreeSet<PathBuf> = pages
        .get(summary)
        .into_iter()
        .flat_map(|page| page.links.iter().filter_map(|(_, link)| resolved(guide, link)))
        .collect();
    let of_guide = pages.keys().filter(|path| path.starts_with(guide) && *path != summary);
    let missing = of_guide.filter(|path| !listed.contains(*path));
    missing.map(|path| format!("{}: not in {SUMMARY}", path.display())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_those_of_github_and_mdbook() {
        assert_eq!(anchor("In a detector"), "in-a-detector");
        assert_eq!(anchor("1. Your boxes"), "1-your-boxes");
        assert_eq!(
            anchor("`longtail serve`: what it does not do"),
            "longtail-serve-what-it-does-not-do"
        );
        let page = page("# Twice\n\n## Twice\n\n[here](#twice-1) and [there](a.md)\n");
        assert_eq!(page.anchors, BTreeSet::from(["twice".into(), "twice-1".into()]));
        assert_eq!(page.links, [(5, "#twice-1".into()), (5, "a.md".into())]);
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let texts = [
            ("docs/src/SUMMARY.md", "[A](a.md) [B](sub/b.md)"),
            ("docs/src/a.md", "# Top\n[b](sub/b.md) [gone](gone.md) [x](https://example.org/#y)"),
            ("docs/src/sub/b.md", "[a](../a.md#top)\n\n[no](../a.md#no)\n[out](../../../../x)"),
            (
                "docs/src/c.md",
                "[web](https://github.com/burn-longtail/burn-longtail/blob/main/docs/none)",
            ),
        ];
        let pages: BTreeMap<PathBuf, Page> =
            texts.iter().map(|(path, text)| (PathBuf::from(path), page(text))).collect();
        let mut found = problems(&pages, |path| pages.contains_key(path));
        found.extend(unlisted(&pages));
        assert_eq!(
            found,
            [
                "docs/src/a.md:2: gone.md: no such file",
                "docs/src/c.md:1: https://github.com/burn-longtail/burn-longtail/blob/main/docs/none: \
                 no such file",
                "docs/src/sub/b.md:3: ../a.md#no: no such heading",
                "docs/src/sub/b.md:4: ../../../../x: leads out of the repository",
                "docs/src/c.md: not in docs/src/SUMMARY.md",
            ]
        );
    }
}
