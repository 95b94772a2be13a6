//! Weights by name through the command line, from a server on the loopback device.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

/// Answers every request with this content.
fn serve(content: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(content));
        }
    });
    format!("http://{address}/models/")
}

fn fetch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtail"));
    command.args(["weights", "fetch"]).args(arguments).env("LONGTAIL_CACHE", folder);
    command.output().unwrap()
}

#[test]
fn other_content_than_the_published_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mirror = serve(b"something else");
    let output = fetch(folder.path(), &["resnet18-imagenet-v1", "--mirror", &mirror]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["resnet18-f37072fd.pth", "SHA-256", "f37072fd"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn names_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let list = String::from_utf8(fetch(folder.path(), &[]).stdout).unwrap();
    assert!(list.contains("resnet50-imagenet-v1") && list.contains("https://"), "{list}");
    let output = fetch(folder.path(), &["resnet50"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("resnet50-imagenet-v1"), "{message}");
}
