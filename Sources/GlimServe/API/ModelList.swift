import Foundation
import GlimText

/// What `/v1/models` answers: OpenAI's members and Anthropic's side by side, as no name is in the way of another.
enum ModelList {
    static func entry(_ served: ServedModel) -> JSON {
        let created = Date(timeIntervalSince1970: Double(served.created)).formatted(.iso8601)
        return .object(of: [
            "id": .string(served.name), "object": .string("model"), "created": .integer(served.created),
            "owned_by": .string("glim"), "type": .string("model"), "display_name": .string(served.name),
            "created_at": .string(created), "max_model_len": .integer(served.context),
        ])
    }

    static func list(_ served: ServedModel) -> JSON {
        .object(of: [
            "object": .string("list"), "data": .array([entry(served)]), "has_more": .bool(false),
            "first_id": .string(served.name), "last_id": .string(served.name),
        ])
    }
}
