public import GlimTensor

/// Short word problems: of one step, of two, or of three, each worked out in columns.
///
/// Names and things do not matter to the answer, and so not to the split: no question of evaluation is one of training
/// with other names. Two names, a thing and two numbers make over 10⁶ questions of a single template.
public struct StoryTask: VerifiableTask {
    public let name = "stories"

    public init() {}

    public func draw(_ level: ReasoningLevel, _ random: CounterRandom) -> VerifiableInstance {
        var draws = DrawSequence(random)
        let cast = StoryCast(&draws)
        let tellers =
            switch level {
            case .easy: Story.ofOneStep
            case .medium: Story.ofTwoSteps
            case .hard: Story.ofThreeSteps
            }
        let template = draws.integer(below: tellers.count)
        let story = tellers[template](&draws, cast)
        let value = story.steps[story.steps.count - 1].value
        let numbers = story.text.split { !$0.isNumber }.joined(separator: " ")
        return VerifiableInstance(
            question: story.text, thinking: story.steps.flatMap(\.lines), answer: String(value),
            rule: .number(value, unit: story.unit), content: "\(level.rawValue) \(template) \(numbers)")
    }
}

/// Who and what a story is about.
struct StoryCast {
    let first: String
    let second: String
    /// Of one, and of many.
    let thing: String
    let things: String

    private static let names = [
        "Ada", "Ben", "Carl", "Dora", "Emma", "Finn", "Gina", "Hugo", "Ida", "Jack", "Kate", "Leo", "Mia", "Nora",
        "Omar", "Paul", "Rosa", "Sam", "Tina", "Vera",
    ]
    private static let all = [
        "apple", "ball", "book", "button", "card", "coin", "egg", "flower", "lemon", "marble", "nut", "pen", "plum",
        "shell", "stamp", "stone",
    ]

    init(_ draws: inout DrawSequence) {
        let people = draws.distinct(2, from: 0, through: Self.names.count - 1)
        (first, second) = (Self.names[people[0]], Self.names[people[1]])
        thing = draws.pick(Self.all)
        things = thing + "s"
    }
}
