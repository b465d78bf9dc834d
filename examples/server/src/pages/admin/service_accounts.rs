use crate::pages::cx::Cx;
pub(super) async fn list(_: Cx) {}
pub(super) async fn create(_: Cx) {}
pub(super) async fn mint(_: Cx) {}
pub(super) async fn revoke(_: Cx) {}
