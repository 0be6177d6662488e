//! A plan as steps, each of which can tell whether it is done. Doing them twice does nothing the second time.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use domain::quantity::Bytes;

use super::{
    error::{Error, Result},
    former::Former,
    paths,
    plan::{self, File, Plan, Program},
    renewals::Renewals,
    system,
    unit::{Renewal, is_active, is_enabled, start},
};

/// One thing that is to be so.
#[derive(Debug)]
pub enum Step<'a> {
    /// A folder.
    Folder(PathBuf, u32),
    /// One of our programs.
    Program(&'a Program),
    /// A file.
    File(&'a File),
    /// The edge's user.
    User(&'static str),
    /// The file that is the build engine's disk.
    Disk(Bytes),
    /// A unit that must not run beside ours.
    Retired(&'static str),
    /// A unit that runs, now and after each start of the machine.
    Unit(&'static str),
}

/// Docker's own, in this order: the socket would start the service again.
const RETIRED: [&str; 2] = ["docker.socket", "docker.service"];

/// Of a program, read at once.
const PIECE: usize = 1 << 20;

/// The plan's steps, in order.
pub fn of(plan: &Plan) -> Vec<Step<'_>> {
    let has_engine = plan.units.contains(&plan::ENGINE);
    let mut steps: Vec<Step<'_>> = paths::FOLDERS
        .iter()
        .map(|(path, mode)| Step::Folder(path.into(), *mode))
        .collect();
    steps.extend(plan.programs.iter().map(Step::Program));
    let (users, files): (Vec<_>, Vec<_>) = plan
        .files
        .iter()
        .partition(|file| file.path == Path::new(paths::SYSUSERS));
    if let [users] = users.as_slice() {
        steps.extend([Step::File(users), Step::User(paths::EDGE_GROUP)]);
    }
    steps.extend(files.into_iter().map(Step::File));
    steps.extend(plan.build_disk.map(Step::Disk));
    if has_engine {
        steps.extend(RETIRED.map(Step::Retired));
    }
    steps.extend(plan.units.iter().map(|unit| Step::Unit(unit)));
    steps
}

impl Step<'_> {
    /// Whether it is so already.
    pub fn is_done(&self) -> Result<bool> {
        match self {
            Self::Folder(path, mode) => Ok(has_mode(path, *mode)),
            Self::Program(program) => same_bytes(&program.from, &program.to),
            Self::File(file) => is_written(file),
            Self::User(name) => Ok(group(name)?.is_some()),
            Self::Disk(_) => Ok(Path::new(paths::BUILD_DISK).exists()),
            Self::Retired(unit) => Ok(!is_active(unit) && !is_enabled(unit)),
            Self::Unit(unit) => Ok(is_active(unit) && is_enabled(unit)),
        }
    }

    /// Makes it so.
    pub fn apply(&self) -> Result {
        match self {
            Self::Folder(path, mode) => make_folder(path, *mode),
            Self::Program(program) => install(program),
            Self::File(file) => write(file),
            Self::User(_) => system::run("systemd-sysusers", &[paths::SYSUSERS]).map(drop),
            Self::Disk(size) => make_disk(*size),
            Self::Retired(unit) => system::run("systemctl", &["disable", "--now", unit]).map(drop),
            Self::Unit(unit) => start(unit),
        }
    }

    /// What this step changes, the unit that uses it, and how that comes to it.
    fn renews(&self) -> Option<(&Path, &'static str, Renewal)> {
        match self {
            Self::Program(program) => Some((&program.to, program.unit, Renewal::of(program.unit))),
            Self::File(file) if file.is_unit() => Some((&file.path, file.unit?, Renewal::Restart)),
            Self::File(file) => Some((&file.path, file.unit?, Renewal::of(file.unit?))),
            _ => None,
        }
    }

    /// Whether systemd has to read its units again.
    pub fn is_of_systemd(&self) -> bool {
        matches!(self, Self::File(file) if file.is_unit())
    }
}

impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path, _) => write!(f, "folder {}", path.display()),
            Self::Program(program) => write!(f, "program {}", program.to.display()),
            Self::File(file) => write!(f, "file {}", file.path.display()),
            Self::User(name) => write!(f, "user {name}"),
            Self::Disk(size) => write!(f, "disk {} of {size}", paths::BUILD_DISK),
            Self::Retired(unit) => write!(f, "disabled unit {unit}"),
            Self::Unit(unit) => write!(f, "running unit {unit}"),
        }
    }
}

/// Does what is not done, and says what that was.
pub fn apply(plan: &Plan, mut begun: impl FnMut(&Step<'_>)) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    let mut renewals = Renewals::default();
    let mut reload = false;
    for step in of(plan) {
        if let Step::Unit(unit) = step {
            if std::mem::take(&mut reload) {
                system::run("systemctl", &["daemon-reload"])?;
            }
            if renewals.has(unit) {
                begun(&step);
            }
            changed.extend(renewals.apply(unit)?);
        }
        let is_done = step.is_done()?;
        if let Some((path, unit, renewal)) = step.renews() {
            match (Former::find(path), is_done) {
                (Some(former), _) => renewals.note(unit, renewal, Some(former)),
                (None, false) => renewals.note(unit, renewal, Former::keep(path)?),
                (None, true) => {}
            }
        }
        if is_done {
            continue;
        }
        begun(&step);
        step.apply()?;
        reload |= step.is_of_systemd();
        changed.push(step.to_string());
    }
    Ok(changed)
}

fn has_mode(path: &Path, mode: u32) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o7777 == mode)
        // A mounted disk has permissions of its own.
        || system::succeeds("mountpoint", &["--quiet", &path.to_string_lossy()])
}

fn make_folder(path: &Path, mode: u32) -> Result {
    fs::create_dir_all(path).map_err(Error::file("make", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::file("make", path))
}

fn is_written(file: &File) -> Result<bool> {
    let Ok(found) = fs::metadata(&file.path) else {
        return Ok(false);
    };
    let group = group_of(file)?;
    let as_planned = found.permissions().mode() & 0o7777 == file.mode
        && found.uid() == 0
        && group.is_some_and(|group| found.gid() == group);
    let text = fs::read_to_string(&file.path).unwrap_or_default();
    Ok(as_planned && text == file.content.text())
}

/// Written beside and moved, never readable by more than it is meant for.
fn write(file: &File) -> Result {
    let failed = || Error::file("write", &file.path);
    let folder = file.path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(failed())?;
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(failed())?;
    io::Write::write_all(&mut draft, file.content.text().as_bytes()).map_err(failed())?;
    chown(draft.path(), Some(0), group_of(file)?).map_err(failed())?;
    let mode = fs::Permissions::from_mode(file.mode);
    fs::set_permissions(draft.path(), mode).map_err(failed())?;
    draft.as_file().sync_all().map_err(failed())?;
    let kept = draft.persist(&file.path);
    kept.map(drop).map_err(|error| failed()(error.error))
}

fn group_of(file: &File) -> Result<Option<u32>> {
    if file.of_edge {
        group(paths::EDGE_GROUP)
    } else {
        Ok(Some(0))
    }
}

fn group(name: &str) -> Result<Option<u32>> {
    let found = nix::unistd::Group::from_name(name)
        .map_err(|errno| Error::file("read", "/etc/group")(errno.into()))?;
    Ok(found.map(|group| group.gid.as_raw()))
}

/// Programs are large: nothing is read when the lengths differ.
fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    let Ok(mut found) = fs::File::open(other) else {
        return Ok(false);
    };
    let failed = || Error::file("read", one);
    let mut wanted = fs::File::open(one).map_err(failed())?;
    let length = |file: &fs::File| file.metadata().map(|found| found.len());
    if length(&wanted).map_err(failed())? != length(&found).map_err(failed())? {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = wanted.read(&mut left).map_err(failed())?;
        if read == 0 {
            return Ok(true);
        }
        let same = found.read_exact(&mut right[..read]).is_ok() && left[..read] == right[..read];
        if !same {
            return Ok(false);
        }
    }
}

fn install(program: &Program) -> Result {
    let failed = || Error::file("write", &program.to);
    let folder = program.to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(failed())?;
    let draft = program.to.with_extension("new");
    fs::copy(&program.from, &draft).map_err(Error::file("copy", &program.from))?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).map_err(failed())?;
    fs::rename(&draft, &program.to).map_err(failed())
}

fn make_disk(size: Bytes) -> Result {
    let draft = format!("{}.new", paths::BUILD_DISK);
    let file = fs::File::create(&draft).map_err(Error::file("make", &draft))?;
    file.set_len(size.0).map_err(Error::file("make", &draft))?;
    system::run("mkfs.ext4", &["-q", "-m0", &draft])?;
    fs::rename(&draft, paths::BUILD_DISK).map_err(Error::file("make", paths::BUILD_DISK))
}
