use crate::pages::cx::Cx;
use crate::pages::error::PageError;
use crate::pages::form::Fields;
use crate::state::AppState;
pub(in crate::pages) async fn first_admin(_: &AppState, _: &Fields) -> Result<(), PageError> {
    Ok(())
}
pub(super) async fn list(_: Cx) {}
pub(super) async fn create(_: Cx) {}
pub(super) async fn delete(_: Cx) {}
