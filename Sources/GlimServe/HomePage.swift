/// What a browser sees at `/`.
enum HomePage {
    static let contentType = "text/plain; charset=utf-8"

    static func text(of served: ServedModel) -> String {
        """
        Glim serves \(served.name).

        POST /v1/chat/completions        OpenAI's chat completions
        POST /v1/completions             OpenAI's completions
        POST /v1/responses               OpenAI's responses, in their basic form
        POST /v1/messages                Anthropic's messages
        POST /v1/messages/count_tokens   how many tokens they are
        POST /generate                   token ids in and out
        GET  /v1/models                  the model
        GET  /health                     whether all is well
        GET  /metrics                    for Prometheus

        """
    }
}
