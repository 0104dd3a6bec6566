//! Authentication, which is off.

use crate::support::Running;
use coffer_etcd::proto::etcdserverpb::auth_client::AuthClient;
use coffer_etcd::proto::etcdserverpb::*;
use tonic::Code;

#[test]
fn authentication_is_off_as_in_a_fresh_etcd() {
    let running = Running::start();
    coffer_runtime::block_on(async {
        let channel = running.connect().await;
        let mut auth = AuthClient::with_origin(channel.clone(), channel.origin());
        let status = auth.auth_status(AuthStatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.enabled, status.auth_revision), (false, 1));
        assert_eq!(status.header.unwrap().revision, 1);
        let request = AuthenticateRequest { name: "root".into(), password: "secret".into() };
        let refused = auth.authenticate(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::FailedPrecondition, "etcdserver: authentication is not enabled")
        );
        let refused = auth.user_add(AuthUserAddRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(refused.message().contains("not supported"), "{refused}");
    });
}
