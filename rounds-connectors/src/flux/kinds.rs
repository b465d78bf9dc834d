//! Flux's kinds.

use serde::{Deserialize, Serialize};

/// A kind that Flux reconciles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Kustomization,
    HelmRelease,
    GitRepository,
    #[serde(rename = "OCIRepository")]
    OciRepository,
    HelmRepository,
    Bucket,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Kustomization,
        Self::HelmRelease,
        Self::GitRepository,
        Self::OciRepository,
        Self::HelmRepository,
        Self::Bucket,
    ];

    /// As manifests write it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kustomization => "Kustomization",
            Self::HelmRelease => "HelmRelease",
            Self::GitRepository => "GitRepository",
            Self::OciRepository => "OCIRepository",
            Self::HelmRepository => "HelmRepository",
            Self::Bucket => "Bucket",
        }
    }

    pub(super) const fn group(self) -> &'static str {
        match self {
            Self::Kustomization => "kustomize.toolkit.fluxcd.io",
            Self::HelmRelease => "helm.toolkit.fluxcd.io",
            Self::GitRepository | Self::OciRepository | Self::HelmRepository | Self::Bucket => {
                "source.toolkit.fluxcd.io"
            }
        }
    }

    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Kustomization => "kustomizations",
            Self::HelmRelease => "helmreleases",
            Self::GitRepository => "gitrepositories",
            Self::OciRepository => "ocirepositories",
            Self::HelmRepository => "helmrepositories",
            Self::Bucket => "buckets",
        }
    }

    /// What kubectl calls it: without a version, so that the cluster's own preference counts.
    pub(super) fn resource(self) -> String {
        format!("{}.{}", self.plural(), self.group())
    }

    /// `kustomization.kustomize.toolkit.fluxcd.io`: as targets write it.
    pub(super) fn canonical(self) -> String {
        format!("{}.{}", self.word().to_ascii_lowercase(), self.group())
    }

    /// The kinds of sources that it can be made from; a source has none.
    pub(super) const fn sources(self) -> &'static [Self] {
        match self {
            Self::Kustomization => &[Self::GitRepository, Self::OciRepository, Self::Bucket],
            Self::HelmRelease => &[Self::HelmRepository, Self::GitRepository, Self::OciRepository, Self::Bucket],
            Self::GitRepository | Self::OciRepository | Self::HelmRepository | Self::Bucket => &[],
        }
    }
}
