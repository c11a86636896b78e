/// The 36 added tokens of GLM-4.7 to 5.3, in the order of their ids. The raw value is the token as text.
public enum ControlToken: String, Sendable, CaseIterable {
    case endOfText = "<|endoftext|>"
    case mask = "[MASK]"
    case generationMask = "[gMASK]"
    case sentenceMask = "[sMASK]"
    case startOfPrompt = "<sop>"
    case endOfPrompt = "<eop>"
    case system = "<|system|>"
    case user = "<|user|>"
    case assistant = "<|assistant|>"
    case observation = "<|observation|>"
    case beginOfImage = "<|begin_of_image|>"
    case endOfImage = "<|end_of_image|>"
    case beginOfVideo = "<|begin_of_video|>"
    case endOfVideo = "<|end_of_video|>"
    case beginOfAudio = "<|begin_of_audio|>"
    case endOfAudio = "<|end_of_audio|>"
    case beginOfTranscription = "<|begin_of_transcription|>"
    case endOfTranscription = "<|end_of_transcription|>"
    case codePrefix = "<|code_prefix|>"
    case codeMiddle = "<|code_middle|>"
    case codeSuffix = "<|code_suffix|>"
    case beginThink = "<think>"
    case endThink = "</think>"
    case beginToolCall = "<tool_call>"
    case endToolCall = "</tool_call>"
    case beginToolResponse = "<tool_response>"
    case endToolResponse = "</tool_response>"
    case beginArgumentKey = "<arg_key>"
    case endArgumentKey = "</arg_key>"
    case beginArgumentValue = "<arg_value>"
    case endArgumentValue = "</arg_value>"
    case noThink = "/nothink"
    case beginOfBox = "<|begin_of_box|>"
    case endOfBox = "<|end_of_box|>"
    case image = "<|image|>"
    case video = "<|video|>"

    /// False for the tokens that are part of what the model says: thinking, tool calls and their parts.
    public var isSpecial: Bool {
        switch self {
        case .beginThink, .endThink, .beginToolCall, .endToolCall, .beginToolResponse, .endToolResponse,
            .beginArgumentKey, .endArgumentKey, .beginArgumentValue, .endArgumentValue, .noThink:
            false
        default: true
        }
    }
}
