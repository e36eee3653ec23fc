//! What the operator tells Prometheus: every counter from 0 on, and where each release stands.

use crate::support::{FakeCluster, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn counters_are_there_before_the_first_event_and_each_release_says_where_it_stands() {
    let cluster = FakeCluster::new().await;
    let operator = cluster.operator("a");
    let page = operator.page("/metrics").into_text();
    for zero in [
        r#"halftone_operator_happened_total{class="default",reason="RolledBack"} 0"#,
        r#"halftone_operator_verdicts_total{class="default",result="Fail"} 0"#,
        r#"halftone_operator_reconcile_errors_total{class="default",kind="refused"} 0"#,
        r#"halftone_operator_poll_errors_total{class="default",kind="late"} 0"#,
        r#"halftone_build_info{component="operator",version=""#,
        "process_resident_memory_bytes ",
    ] {
        assert!(page.contains(zero), "{zero} is not in\n{page}");
    }
    cluster.release("checkout", 1, "shop.example.com");
    cluster.reaches("checkout", "Holding").await;
    let of = |more: &str| format!(r#"namespace="shop",release="checkout",class="default"{more}"#);
    let has = |line: String| {
        let operator = &operator;
        async move {
            let mut page = String::new();
            eventually(&line, || {
                page = operator.page("/metrics").into_text();
                page.lines().any(|of| of.starts_with(&line)).then_some(())
            })
            .await;
        }
    };
    has(format!(
        "halftone_release_info{{{}}} 1",
        of(r#",phase="Holding",version="v2""#)
    ))
    .await;
    has(format!(
        "halftone_release_verdict{{{}}} 1",
        of(r#",result="NeedMoreData""#)
    ))
    .await;
    has(format!("halftone_release_ratio{{{}}} 0.1", of(""))).await;
    has(format!("halftone_release_rollbacks_total{{{}}} 0", of(""))).await;
    has(format!(
        "halftone_release_started_timestamp_seconds{{{}}} 1",
        of("")
    ))
    .await;
    let _failing = cluster.proxy.fail_gray();
    cluster.reaches("checkout", "RolledBack").await;
    has(format!("halftone_release_rollbacks_total{{{}}} 1", of(""))).await;
    has(format!(
        "halftone_release_info{{{}}} 1",
        of(r#",phase="RolledBack",version="v2""#)
    ))
    .await;
    has(format!(
        "halftone_release_verdict{{{}}} 1",
        of(r#",result="Fail""#)
    ))
    .await;
    let page = operator.page("/metrics").into_text();
    for one in ["halftone_release_info{", "halftone_release_verdict{"] {
        assert_eq!(
            page.matches(one).count(),
            1,
            "what it said before is gone: {page}"
        );
    }
    cluster.server.remove("grayreleases", "shop", "checkout");
    eventually("its series go", || {
        (!operator.page("/metrics").text().contains("checkout")).then_some(())
    })
    .await;
}
