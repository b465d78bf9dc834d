//! Which files may be touched.
//!
//! A path is accepted in its one spelling: relative, with `/`, without `.` and `..`, made of characters that are seen.
//! What another file system would take for another path (a dot or a blank at the end of a name, `GITHUB~1`, an
//! invisible character) is refused rather than understood.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rounds_core::step::Refusal;

use super::names::{is_plain, quoted};

/// The longest path.
const MAX_PATH: usize = 500;

/// The paths that a connector may read or write.
#[derive(Debug, Clone)]
pub(crate) struct PathRules {
    field: &'static str,
    globs: Vec<String>,
    set: GlobSet,
    pipelines: bool,
}

impl PathRules {
    /// `pipelines`: whether files may be written that make pipelines run or say who must review.
    ///
    /// # Errors
    /// A glob cannot be read, with its number.
    pub(crate) fn new(field: &'static str, globs: &[String], pipelines: bool) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for (at, glob) in globs.iter().enumerate() {
            let wrong = |why: String| {
                let found = quoted(glob, 80);
                format!(
                    "{field}[{at}]: found {found}{why}; a glob such as `deploy/**` or `apps/*/values.yaml` is accepted"
                )
            };
            if glob.is_empty()
                || glob.starts_with(['/', '!'])
                || glob.split('/').any(|part| part == ".." || part == ".")
            {
                return Err(wrong(String::new()));
            }
            // `*` stays within a folder; `**` does not.
            let built = GlobBuilder::new(glob).literal_separator(true).backslash_escape(false).build();
            set.add(built.map_err(|error| wrong(format!(" ({})", error.kind())))?);
        }
        let set = set.build().map_err(|error| format!("{field}: {error}"))?;
        Ok(Self { field, globs: globs.to_vec(), set, pipelines })
    }

    /// Whether a file may be written.
    ///
    /// # Errors
    /// It may not, or the path is not in its one spelling.
    pub(crate) fn permit(&self, path: &str) -> Result<(), Refusal> {
        spelled(path)?;
        if !self.pipelines && is_pipeline(path) {
            return Err(Refusal::new(
                "path_protected",
                format!(
                    "path: found `{path}`, which decides what pipelines run or who reviews; such a file is accepted only \
                     when an operator sets `allowPipelineFiles` of this connector"
                ),
            ));
        }
        self.listed_as(path)
    }

    /// Whether a file may be read.
    ///
    /// # Errors
    /// As [`permit`](Self::permit); reading a pipeline's file does no harm.
    pub(crate) fn permit_read(&self, path: &str) -> Result<(), Refusal> {
        spelled(path)?;
        self.listed_as(path)
    }

    fn listed_as(&self, path: &str) -> Result<(), Refusal> {
        if self.set.is_match(path) {
            return Ok(());
        }
        Err(Refusal::new(
            "path_not_accepted",
            format!(
                "the path `{path}` is not accepted; accepted: {} (an operator adds more to `{}` of this connector)",
                self.listed(),
                self.field
            ),
        ))
    }

    /// What is allowed, for people and models.
    pub(crate) fn listed(&self) -> String {
        if self.globs.is_empty() { "none".into() } else { self.globs.join(", ") }
    }
}

/// Whether a path is in its one spelling.
fn spelled(path: &str) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        Err(Refusal::new(
            "path",
            format!(
                "path: found {}{why}; a path inside the repository such as `deploy/web.yaml` is accepted",
                quoted(path, 120)
            ),
        ))
    };
    if path.is_empty() || path.len() > MAX_PATH {
        return refuse(", which is empty or too long");
    }
    if let Some(odd) =
        path.chars().find(|c| !is_plain(*c) || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|'))
    {
        return refuse(&format!(", which holds {odd:?}"));
    }
    for part in path.split('/') {
        if part.is_empty() {
            return refuse(", which starts or ends with `/`, or holds `//`");
        }
        if part == "." || part == ".." {
            return refuse(", which holds `.` or `..`");
        }
        if part.ends_with(['.', ' ']) || part.starts_with(' ') {
            return refuse(", with a dot or a blank at the end of a name");
        }
        // The short names of old Windows file systems: `GIT~1`.
        if part.as_bytes().windows(2).any(|pair| pair[0] == b'~' && pair[1].is_ascii_digit()) {
            return refuse(", which holds `~` and a digit");
        }
        if folded(part) == ".git" {
            return refuse(", which leads into git's own folder");
        }
    }
    Ok(())
}

/// A name in which upper and lower case, in any alphabet, are one.
pub(crate) fn folded(name: &str) -> String {
    // Upper case first: `ſ` and the Kelvin sign are lower-cased to what they look like only from there.
    name.to_uppercase().to_lowercase()
}

/// Folders of which pipelines, or the forge itself, read every file.
const FOLDERS: [&str; 9] = [
    ".github",
    ".gitlab",
    ".circleci",
    ".buildkite",
    ".gitea",
    ".forgejo",
    ".woodpecker",
    ".semaphore",
    ".azuredevops",
];

/// How the names of YAML files begin that pipelines, or bots with rights of their own, are made of.
const PIPELINES: [&str; 9] = [
    ".gitlab-ci",
    ".drone",
    ".travis",
    ".woodpecker",
    ".appveyor",
    "appveyor",
    "azure-pipelines",
    "bitbucket-pipelines",
    "dependabot",
];

/// Whether a file decides what pipelines run, or who must review. In any case: some file systems and forges do not tell
/// cases apart.
fn is_pipeline(path: &str) -> bool {
    let path = folded(path);
    let name = path.rsplit('/').next().unwrap_or(&path);
    let any_of = |starts: &[&str], ends: &[&str]| {
        ends.iter()
            .any(|end| name.strip_suffix(end).is_some_and(|stem| starts.iter().any(|start| stem.starts_with(start))))
    };
    matches!(
        name,
        "codeowners"
            | ".gitmodules"
            | "jenkinsfile"
            | "renovate.json"
            | "renovate.json5"
            | "action.yml"
            | "action.yaml"
    ) || name.starts_with(".renovaterc")
        || name.starts_with("jenkinsfile.")
        || any_of(&PIPELINES, &[".yml", ".yaml"])
        || path.split('/').any(|part| FOLDERS.contains(&part))
        // Folders of files that `.gitlab-ci.yml` is put together from are called so by custom.
        || path.rsplit('/').skip(1).any(|folder| folder.starts_with(".gitlab-ci"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(globs: &[&str], pipelines: bool) -> PathRules {
        let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
        PathRules::new("paths", &globs, pipelines).unwrap()
    }

    #[test]
    fn rule_11_an_empty_list_of_paths_permits_none() {
        let refused = rules(&[], true).permit("deploy/web.yaml").unwrap_err().message;
        assert!(refused.contains("accepted: none"), "{refused}");
    }

    #[test]
    fn a_star_stays_within_a_folder_and_case_counts() {
        let rules = rules(&["deploy/**", "apps/*/values.yaml"], false);
        for (path, allowed) in [
            ("deploy/web.yaml", true),
            ("deploy/a/b/c.yaml", true),
            ("apps/web/values.yaml", true),
            ("apps/web/x/values.yaml", false),
            ("Deploy/web.yaml", false),
            ("deployment/web.yaml", false),
            ("x/deploy/web.yaml", false),
            ("deploy", false),
        ] {
            assert_eq!(rules.permit(path).is_ok(), allowed, "{path}");
        }
    }

    #[test]
    fn a_path_has_one_spelling() {
        let all = rules(&["**"], true);
        all.permit("docs/Ünïcode and blanks.md").unwrap();
        for odd in [
            "",
            "/etc/passwd",
            "a/",
            "a//b",
            "./a",
            "a/./b",
            "../a",
            "a/../b",
            "a\\b",
            "a\nb",
            "a\u{0}b",
            "a\u{202e}b",
            "a\u{200b}b",
            "a/.git/config",
            ".GIT/hooks/x",
            ".gIt",
            "GIT~1/x",
            "a./b",
            "a /b",
            "a/b.",
            "c:/x",
            "a:b",
            "a*b",
        ] {
            assert!(all.permit(odd).is_err(), "{odd:?}");
            assert!(all.permit_read(odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn what_makes_pipelines_run_or_says_who_reviews_is_refused_unless_opted_in() {
        let (closed, open) = (rules(&["**"], false), rules(&["**"], true));
        for path in [
            ".github/workflows/ci.yml",
            ".GitHub/Workflows/ci.yml",
            ".github/workflowſ/ci.yml",
            ".github/actions/x/action.yml",
            "CODEOWNERS",
            "docs/codeowners",
            ".github/CODEOWNERS",
            ".gitlab-ci.yml",
            "sub/.GitLab-CI.yml",
            ".gitlab/agents/a/config.yaml",
            ".gitmodules",
            ".github/dependabot.yml",
            ".github/scripts/release.sh",
            "sub/.github/x",
            ".gitlab/CODEOWNERS",
            ".circleci/config.yml",
            ".buildkite/pipeline.yml",
            ".drone.yml",
            ".travis.yml",
            "Jenkinsfile",
            "ci/Jenkinsfile.release",
            "azure-pipelines.yml",
            "bitbucket-pipelines.yml",
            "action.yml",
            "tools/x/action.yaml",
            "renovate.json",
            "renovate.json5",
            ".renovaterc",
            ".renovaterc.json",
            "dependabot.yml",
            ".gitlab-ci-deploy.yml",
            ".gitlab-ci/build.sh",
            "ci/.gitlab-ci.build.yaml",
        ] {
            let refused = closed.permit(path).unwrap_err();
            assert_eq!(refused.rule, "path_protected", "{path}");
            assert!(refused.message.contains("allowPipelineFiles"));
            open.permit(path).unwrap();
            closed.permit_read(path).unwrap();
        }
        for plain in ["deploy/web.yaml", "actions.yml", "docs/github/x.md", "deploy/travis.yml", "renovate/x.json"] {
            closed.permit(plain).unwrap();
        }
        // The opt-in widens nothing else.
        assert!(rules(&["deploy/**"], true).permit(".github/workflows/ci.yml").is_err());
    }

    #[test]
    fn a_wrong_glob_is_named_with_what_is_accepted() {
        for wrong in ["", "/a", "a/../b", "a[", "!a"] {
            let error = PathRules::new("paths", &["ok/**".into(), wrong.into()], false).unwrap_err();
            assert!(error.contains("paths[1]") && error.contains("deploy/**"), "{error}");
        }
    }
}
