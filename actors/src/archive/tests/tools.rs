//! What is kept can be read without this program: with tar, sha512sum, age, Python and a BagIt validator.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use super::*;

/// A tool that a test can't do without: a test that is skipped counts as passed.
fn tool(name: &str) -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([venv])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is neither on PATH nor in target/venv/bin: run tests/setup"))
}

/// Runs a command and returns what it printed.
fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

/// Names as people have them; only what `sha512sum -c` and bagit.py take as RFC 8493 means it.
fn sample(dir: &Path) -> PathBuf {
    let top = dir.join("férias 1973");
    fs::create_dir_all(top.join("empty folder")).unwrap();
    fs::create_dir_all(top.join("deep/".repeat(40))).unwrap();
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("100% sure.txt", b"sure"),
        ("My%20File.pdf", b"pdf"),
        ("写真.jpg", &[1; 70_000]),
        (" space .txt", b"space"),
        ("'quoted\" *.txt", b"quoted"),
        (&format!("{}file", "deep/".repeat(40)), b"deep"),
    ] {
        fs::write(top.join(name), bytes).unwrap();
    }
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    fs::File::open(top.join("empty")).unwrap().set_modified(old).unwrap();
    top
}

fn same(left: &Path, right: &Path) {
    output(Command::new(tool("diff")).arg("-r").arg(left).arg(right));
}

#[test]
fn public_content_opens_with_tar_and_its_checksums_fit() {
    let dir = tempfile::tempdir().unwrap();
    let top = sample(dir.path());
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let raw = dir.path().join("raw");
    run(async {
        let id = create_from(&store, &author, &public(), &top).await.id;
        export_raw(&store, id, &author, &raw).await;
    });
    output(Command::new(tool("tar")).args(["-xf", "content.tar"]).current_dir(&raw));
    same(&top, &raw.join("tessera/data/férias 1973"));
    let modified = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(top.join("empty")), modified(raw.join("tessera/data/férias 1973/empty")));
    for list in ["manifest-sha512.txt", "tagmanifest-sha512.txt"] {
        let check = ["--check", "--strict", "--quiet", list];
        output(Command::new(tool("sha512sum")).args(check).current_dir(raw.join("tessera")));
    }
}

#[test]
fn public_content_is_a_tar_for_python_too() {
    let dir = tempfile::tempdir().unwrap();
    let top = sample(dir.path());
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let raw = dir.path().join("raw");
    let entries = run(async {
        let created = create_from(&store, &author, &public(), &top).await;
        export_raw(&store, created.id, &author, &raw).await;
        created.files + created.folders
    });
    let script = "import tarfile, sys\n\
        tar = tarfile.open(sys.argv[1])\n\
        data = [m for m in tar.getmembers() if m.name.startswith('tessera/data/')]\n\
        assert all((m.uid, m.gid, m.uname, m.gname) == (0, 0, '', '') for m in data)\n\
        assert all(m.mode == (0o755 if m.isdir() else 0o644) for m in data)\n\
        assert any('写真' in m.name for m in data)\n\
        print(len(data))";
    let printed = output(Command::new(tool("python3")).args(["-c", script]).arg(raw.join("content.tar")));
    assert_eq!(printed.trim(), entries.to_string());
}

#[test]
fn private_content_opens_with_age_and_tar() {
    let dir = tempfile::tempdir().unwrap();
    let top = sample(dir.path());
    let key = dir.path().join("author.key");
    let author = Author::create(&key).unwrap();
    let store = MemoryStore::default();
    let raw = dir.path().join("raw");
    run(async {
        let id = create_from(&store, &author, &Metadata::default(), &top).await.id;
        export_raw(&store, id, &author, &raw).await;
    });
    let plain = raw.join("content.tar");
    let age = ["-d", "-i", key.to_str().unwrap(), "-o", plain.to_str().unwrap(), "content.tar.age"];
    output(Command::new(tool("age")).args(age).current_dir(&raw));
    output(Command::new(tool("tar")).args(["-xf", "content.tar"]).current_dir(&raw));
    same(&top, &raw.join("tessera/data/férias 1973"));
}

#[test]
fn author_key_is_an_identity_file_of_age() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("author.key");
    let author = Author::create(&key).unwrap();
    let printed = output(Command::new(tool("age-keygen")).arg("-y").arg(&key));
    assert_eq!(printed.trim(), author.recipient().to_string());
}

#[test]
fn export_is_accepted_by_a_bagit_validator() {
    let dir = tempfile::tempdir().unwrap();
    let top = sample(dir.path());
    fs::write(top.join("Icon\r"), b"mac").unwrap();
    fs::write(top.join("line\nbreak"), b"unix").unwrap();
    let author = Author::generate().unwrap();
    let store = MemoryStore::default();
    for metadata in [public(), Metadata { title: Some("Férias".into()), ..Metadata::default() }] {
        let folder = dir.path().join(format!("public {}", metadata.public));
        run(async {
            let id = create_from(&store, &author, &metadata, &top).await.id;
            export(&store, id, &author, &folder).await;
        });
        let printed = output(Command::new(tool("bagit.py")).arg("--validate").arg(folder.join("tessera")));
        assert!(printed.contains("is valid"), "{printed}");
        assert!(!printed.contains("WARNING"), "{printed}");
        fs::write(folder.join("tessera/data/férias 1973/empty"), b"no longer").unwrap();
        let status =
            Command::new(tool("bagit.py")).arg("--validate").arg(folder.join("tessera")).output().unwrap();
        assert!(!status.status.success());
    }
}

#[test]
fn upload_of_the_folder_one_stands_in_holds_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let top = sample(dir.path());
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    let tar = dir.path().join("dot.tar");
    output(Command::new(tool("tar")).arg("-cf").arg(&tar).arg("-C").arg(&top).arg("."));
    let folder = dir.path().join("export");
    run(async {
        let tar = tokio::fs::File::open(&tar).await.unwrap();
        let id = create(tar, &author, store.sink(), NOW_MS).await.unwrap().id;
        export(&store, id, &author, &folder).await;
    });
    same(&top, &folder.join("tessera/data"));
}

#[test]
fn upload_written_by_gnu_tar_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let top = sample(dir.path());
    let (author, store) = (Author::generate().unwrap(), MemoryStore::default());
    for format in ["gnu", "pax", "ustar", "oldgnu", "posix"] {
        let tar = dir.path().join(format);
        let name = top.file_name().unwrap();
        let mut command = Command::new(tool("tar"));
        command.arg(format!("--format={format}")).arg("-cf").arg(&tar).arg("-C").arg(dir.path()).arg(name);
        output(&mut command);
        let folder = dir.path().join(format!("{format} export"));
        run(async {
            let tar = tokio::fs::File::open(&tar).await.unwrap();
            let id = create(tar, &author, store.sink(), NOW_MS).await.unwrap().id;
            export(&store, id, &author, &folder).await;
        });
        same(&top, &folder.join("tessera/data").join(name));
        assert!(check_folder(&folder, |_| {}).unwrap().is_intact(), "{format}");
    }
}
