//! The requests that the operator makes of the API server beside its watches, each with a deadline. Every write asks the
//! mandate first and carries the resourceVersion of what it replaces.

use std::fmt::Debug;
use std::time::Duration;

use halftone_api::GrayRelease;
use halftone_routing::document::arm::ServiceRef;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, ResourceExt};

use crate::error::Error;
use crate::forward_compat;
use crate::leader_mandate::LeaderMandate;
use crate::names::{MANAGER, NamespacedName};

/// Less than the time between the end of a mandate and the beginning of the next one: what was sent under a mandate is
/// over before anybody else has one.
pub const DEADLINE: Duration = Duration::from_secs(4);

/// The API server, as far as one fleet is concerned.
#[derive(Clone)]
pub struct ApiClient {
    client: Client,
    mandate: LeaderMandate,
}

impl Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient")
            .field("mandate", &self.mandate)
            .finish_non_exhaustive()
    }
}

impl ApiClient {
    /// The API server behind `client`, written to under `mandate`.
    #[must_use]
    pub fn new(client: Client, mandate: LeaderMandate) -> Self {
        Self { client, mandate }
    }

    /// Reads a release; none if there is none.
    ///
    /// # Errors
    /// No answer.
    pub async fn release(&self, key: &NamespacedName) -> Result<Option<GrayRelease>, Error> {
        let what = "reading the GrayRelease";
        let found = in_time(what, self.releases(&key.namespace).get_opt(&key.name)).await?;
        found.map(|object| readable(what, object)).transpose()
    }

    /// The releases of a namespace, whatever version has written them.
    fn releases(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<GrayRelease>(&());
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    /// Reads a ConfigMap; none if there is none.
    ///
    /// # Errors
    /// No answer.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        in_time("reading the ConfigMap", api.get_opt(name)).await
    }

    /// Reads a Service; none if there is none.
    ///
    /// # Errors
    /// No answer.
    pub async fn service(&self, reference: &ServiceRef) -> Result<Option<Service>, Error> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), reference.namespace.as_str());
        in_time("reading the Service", api.get_opt(reference.name.as_str())).await
    }

    /// Replaces the status of a release of the resourceVersion that `object` names.
    ///
    /// # Errors
    /// The status was not written, or it is not known whether it was.
    pub async fn write_status(&self, object: &GrayRelease) -> Result<GrayRelease, Error> {
        self.mandate.check()?;
        let (what, api) = (
            "writing the status",
            self.releases(&object.namespace().unwrap_or_default()),
        );
        let (name, parameters) = (object.name_any(), by_us());
        let value = serde_json::to_value(object).and_then(serde_json::from_value::<DynamicObject>);
        let value = value.map_err(|error| Error::of(what, kube::Error::SerdeError(error)))?;
        readable(
            what,
            in_time(what, api.replace_status(&name, &parameters, &value)).await?,
        )
    }

    /// Applies a ConfigMap over the resourceVersion that it names; makes it where it names none.
    ///
    /// # Errors
    /// The ConfigMap was not written, or it is not known whether it was.
    pub async fn apply(&self, object: &ConfigMap) -> Result<ConfigMap, Error> {
        self.mandate.check()?;
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &namespace);
        if object.resource_version().is_none() {
            return in_time("making the ConfigMap", api.create(&by_us(), object)).await;
        }
        let (name, patch) = (object.name_any(), Patch::Apply(object));
        let parameters = PatchParams::apply(MANAGER).force();
        in_time(
            "applying the ConfigMap",
            api.patch(&name, &parameters, &patch),
        )
        .await
    }

    /// Deletes the ConfigMap of this resourceVersion. One that is gone already is no error.
    ///
    /// # Errors
    /// The ConfigMap was not deleted, or it is not known whether it was.
    pub async fn delete(&self, namespace: &str, name: &str, version: &str) -> Result<(), Error> {
        self.mandate.check()?;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let preconditions = Preconditions {
            resource_version: Some(version.to_owned()),
            uid: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let request = async { gone(api.delete(name, &parameters).await) };
        in_time("deleting the ConfigMap", request).await
    }

    /// Deletes a Lease. One that is gone already is no error.
    ///
    /// # Errors
    /// The Lease was not deleted, or it is not known whether it was.
    pub async fn delete_lease(&self, namespace: &str, name: &str) -> Result<(), Error> {
        self.mandate.check()?;
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let request = async { gone(api.delete(name, &DeleteParams::default()).await) };
        in_time("deleting the Lease", request).await
    }
}

fn gone<T>(deleted: kube::Result<T>) -> kube::Result<()> {
    match deleted {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// An object that some version has written, as far as this one can read it.
fn readable(what: &'static str, object: DynamicObject) -> Result<GrayRelease, Error> {
    let no_release = |error: String| serde::de::Error::custom(error);
    forward_compat::release(object)
        .map_err(|error| Error::of(what, kube::Error::SerdeError(no_release(error))))
}

fn by_us() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// Waits for an answer, not for ever.
///
/// # Errors
/// No answer, or one that says no.
pub async fn in_time<T>(
    what: &'static str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer.map_err(|error| Error::of(what, error)),
        Err(_) => Err(Error::Late {
            what,
            after: DEADLINE,
        }),
    }
}
