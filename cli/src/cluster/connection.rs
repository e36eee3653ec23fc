//! How to reach the API server: the kubeconfig, and what flags say instead, with kubectl's names and meanings.

use kube::Config;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use serde_json::json;

use crate::args::ClusterArguments;

/// The name of whatever flags alone describe.
const BY_FLAGS: &str = "halftone-flags";

/// What flags and kubeconfig come to.
///
/// # Errors
/// There is no usable kubeconfig, and the flags do not do without one.
pub(super) async fn config(asked: &ClusterArguments) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions {
        context: asked.context.clone(),
        cluster: asked.connection.cluster.clone(),
        user: asked.connection.user.clone(),
    };
    let read = match &asked.kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let mut config = match read {
        Ok(mut kubeconfig) => {
            let options = instead(&mut kubeconfig, asked, options);
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            in_pod_otherwise(asked, config)?
        }
        // A server alone is enough, as for kubectl.
        Err(_) if asked.connection.server.is_some() => {
            let mut kubeconfig = Kubeconfig::default();
            let options = instead(&mut kubeconfig, asked, options);
            Config::from_custom_kubeconfig(kubeconfig, &options).await?
        }
        Err(error) => in_pod_otherwise(asked, Err(error))?,
    };
    if let Some(timeout) = asked.connection.request_timeout {
        config.read_timeout = Some(timeout);
    }
    Ok(config)
}

/// In a pod there is no kubeconfig, and the service account counts.
fn in_pod_otherwise(
    asked: &ClusterArguments,
    read: Result<Config, KubeconfigError>,
) -> Result<Config, KubeconfigError> {
    match read {
        Err(error) if asked.context.is_none() && asked.kubeconfig.is_none() => {
            Config::incluster().map_err(|_| error)
        }
        read => read,
    }
}

/// Puts what flags say in the place of what the chosen context says; other contexts stay as they are.
fn instead(
    kubeconfig: &mut Kubeconfig,
    asked: &ClusterArguments,
    options: KubeConfigOptions,
) -> KubeConfigOptions {
    let flags = &asked.connection;
    if !flags.changes_cluster() && !flags.changes_user() {
        return options;
    }
    let chosen = options
        .context
        .as_ref()
        .or(kubeconfig.current_context.as_ref());
    let context = kubeconfig
        .contexts
        .iter()
        .find(|context| Some(&context.name) == chosen)
        .and_then(|context| context.context.clone());
    let cluster = options
        .cluster
        .clone()
        .or(context.as_ref().map(|context| context.cluster.clone()));
    let user = options
        .user
        .clone()
        .or(context.as_ref().and_then(|context| context.user.clone()));
    let mut at = kubeconfig
        .clusters
        .iter()
        .find(|named| Some(&named.name) == cluster.as_ref())
        .and_then(|named| named.cluster.clone())
        .unwrap_or_default();
    let mut by = kubeconfig
        .auth_infos
        .iter()
        .find(|named| Some(&named.name) == user.as_ref())
        .and_then(|named| named.auth_info.clone())
        .unwrap_or_default();
    change_cluster(&mut at, asked);
    if flags.changes_user() {
        by = change_user(by, asked);
    }
    let namespace = context.and_then(|context| context.namespace);
    let name = BY_FLAGS.to_owned();
    kubeconfig.clusters.push(NamedCluster {
        name: name.clone(),
        cluster: Some(at),
        ..Default::default()
    });
    kubeconfig.auth_infos.push(NamedAuthInfo {
        name: name.clone(),
        auth_info: Some(by),
        ..Default::default()
    });
    let context = Context {
        cluster: name.clone(),
        user: Some(name.clone()),
        namespace,
        ..Default::default()
    };
    kubeconfig.contexts.push(NamedContext {
        name: name.clone(),
        context: Some(context),
        ..Default::default()
    });
    KubeConfigOptions {
        context: Some(name),
        ..KubeConfigOptions::default()
    }
}

fn change_cluster(cluster: &mut Cluster, asked: &ClusterArguments) {
    let flags = &asked.connection;
    if let Some(server) = &flags.server {
        // kubectl takes a host alone for HTTPS.
        let whole = if server.contains("://") {
            server.clone()
        } else {
            format!("https://{server}")
        };
        cluster.server = Some(whole);
    }
    if let Some(file) = &flags.certificate_authority {
        cluster.certificate_authority = Some(file.display().to_string());
        cluster.certificate_authority_data = None;
    }
    if flags.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
        (
            cluster.certificate_authority,
            cluster.certificate_authority_data,
        ) = (None, None);
    }
    if flags.tls_server_name.is_some() {
        cluster.tls_server_name.clone_from(&flags.tls_server_name);
    }
}

/// A login by flags takes the place of any other.
fn change_user(mut user: AuthInfo, asked: &ClusterArguments) -> AuthInfo {
    let flags = &asked.connection;
    if let Some(token) = &flags.token {
        let secret: AuthInfo = serde_json::from_value(json!({"token": token})).unwrap_or_default();
        user = AuthInfo {
            token: secret.token,
            ..AuthInfo::default()
        };
    }
    if let (Some(certificate), Some(key)) = (&flags.client_certificate, &flags.client_key) {
        user.client_certificate = Some(certificate.display().to_string());
        user.client_key = Some(key.display().to_string());
        (user.client_certificate_data, user.client_key_data) = (None, None);
    }
    user
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ConnectionArguments;

    fn kubeconfig() -> Kubeconfig {
        serde_json::from_value(json!({
            "current-context": "prod",
            "clusters": [{"name": "c", "cluster": {"server": "https://prod:6443", "certificate-authority-data": "AA=="}}],
            "users": [{"name": "u", "user": {"token": "old"}}],
            "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}]
        }))
        .unwrap()
    }

    fn asked(connection: ConnectionArguments) -> ClusterArguments {
        ClusterArguments {
            connection,
            ..ClusterArguments::default()
        }
    }

    #[test]
    fn flags_take_the_place_of_what_the_context_says_and_of_nothing_else() {
        let mut file = kubeconfig();
        let flags = ConnectionArguments {
            server: Some("10.0.0.1:6443".into()),
            insecure_skip_tls_verify: true,
            ..ConnectionArguments::default()
        };
        let options = instead(&mut file, &asked(flags), KubeConfigOptions::default());
        assert_eq!(options.context.as_deref(), Some(BY_FLAGS));
        let cluster = file.clusters.last().unwrap().cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://10.0.0.1:6443"));
        assert!(cluster.certificate_authority_data.is_none());
        assert!(
            file.auth_infos
                .last()
                .unwrap()
                .auth_info
                .as_ref()
                .unwrap()
                .token
                .is_some()
        );
        let context = file.contexts.last().unwrap().context.clone().unwrap();
        assert_eq!(context.namespace.as_deref(), Some("shop"));
    }

    #[test]
    fn without_flags_the_kubeconfig_stays_as_it_is() {
        let mut file = kubeconfig();
        let options = instead(
            &mut file,
            &ClusterArguments::default(),
            KubeConfigOptions::default(),
        );
        assert_eq!((options.context, file.contexts.len()), (None, 1));
    }

    #[test]
    fn a_server_and_a_token_do_without_a_kubeconfig() {
        let mut none = Kubeconfig::default();
        let flags = ConnectionArguments {
            server: Some("http://127.0.0.1:1".into()),
            token: Some("t".into()),
            ..ConnectionArguments::default()
        };
        instead(&mut none, &asked(flags), KubeConfigOptions::default());
        assert_eq!((none.clusters.len(), none.contexts.len()), (1, 1));
    }
}
