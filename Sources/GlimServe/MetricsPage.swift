import GlimEngine

/// What `/metrics` says, in Prometheus' text format 0.0.4.
struct MetricsPage {
    private(set) var text = ""

    init(_ engine: Engine.Metrics, _ traffic: Traffic.Counts) {
        let now: [(String, String, Int)] = [
            ("requests_waiting", "Requests that have no pages of the cache yet.", engine.waiting),
            ("requests_active", "Requests that have pages.", engine.active),
            ("requests_decoding", "Requests that draw tokens.", engine.decoding),
            ("cache_pages", "Pages of the cache.", engine.pages),
            ("cache_pages_used", "Pages of running requests.", engine.usedPages),
            ("cache_pages_kept", "Pages kept of earlier requests.", engine.keptPages),
            ("cache_bytes", "Bytes of memory that the cache has taken.", engine.cacheBytes),
            ("weights_version", "The version of the weights.", engine.version),
        ]
        for (name, help, value) in now { add(name, "gauge", help, [("", "\(value)")]) }
        let since: [(String, String, Int)] = [
            ("steps", "Passes of the network.", engine.steps),
            ("tokens_read", "Rows computed of what was known.", engine.readTokens),
            ("tokens_drawn", "Tokens drawn.", engine.drawnTokens),
            ("requests_finished", "Requests that came to their end.", engine.finished),
            ("requests_cancelled", "Requests whose reader left.", engine.cancelled),
            ("requests_failed", "Requests that could not go on.", engine.failed),
            ("preemptions", "Times that a request gave its pages back to read again.", engine.preemptions),
            ("prefix_tokens_asked", "Tokens looked up among known prefixes.", engine.askedTokens),
            ("prefix_tokens_found", "Tokens found there.", engine.foundTokens),
            ("pages_evicted", "Kept pages that had to go.", engine.evictedPages),
            ("pages_stored", "Pages written to disk.", engine.storedPages),
            ("pages_restored", "Pages read from disk.", engine.restoredPages),
            ("drafts_tried", "Drafts that were looked at.", engine.draftsTried),
            ("drafts_accepted", "Drafts that were right.", engine.draftsAccepted),
            ("clients_left", "HTTP requests whose client left before the end.", traffic.left),
        ]
        for (name, help, value) in since { add("\(name)_total", "counter", help, [("", "\(value)")]) }
        let answers = traffic.answers.sorted { ($0.key.path, $0.key.status) < ($1.key.path, $1.key.status) }
        add(
            "http_responses_total", "counter", "HTTP responses that were begun.",
            answers.map { ("{path=\"\($0.key.path)\",status=\"\($0.key.status)\"}", "\($0.value)") })
        add("first_token_seconds", "Time from a request's arrival to its first token.", traffic.firstToken)
        add("reply_seconds", "Time from a request's arrival to the end of its replies.", traffic.reply)
    }

    private mutating func add(_ name: String, _ kind: String, _ help: String, _ values: [(String, String)]) {
        text += "# HELP glim_\(name) \(help)\n# TYPE glim_\(name) \(kind)\n"
        for (labels, value) in values { text += "glim_\(name)\(labels) \(value)\n" }
    }

    private mutating func add(_ name: String, _ help: String, _ times: Traffic.Times) {
        add(name, "summary", help, [("_sum", "\(times.seconds)"), ("_count", "\(times.count)")])
    }
}
