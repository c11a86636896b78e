/// A word problem, and the steps that solve it: the last comes to the answer.
struct Story {
    let text: String
    let steps: [ColumnArithmetic]
    /// What is counted.
    let unit: String

    typealias Teller = @Sendable (inout DrawSequence, StoryCast) -> Story

    /// What is left of a sum, never less than nothing.
    private static func part(of whole: Int, _ draws: inout DrawSequence) -> Int {
        draws.integer(from: 1, through: min(60, whole))
    }

    static let ofOneStep: [Teller] = [
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 60))
            return Story(
                text: """
                    \(cast.first) has \(a) \(cast.things). \(cast.second) gives \(cast.first) \(b) more. \
                    How many \(cast.things) does \(cast.first) have now?
                    """, steps: [.init(a, .add, b)], unit: cast.things)
        },
        { draws, cast in
            let a = draws.integer(from: 2, through: 90)
            let b = part(of: a, &draws)
            return Story(
                text: """
                    \(cast.first) has \(a) \(cast.things) and gives \(b) of them to \(cast.second). \
                    How many \(cast.things) does \(cast.first) have left?
                    """, steps: [.init(a, .subtract, b)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 60))
            return Story(
                text: """
                    \(cast.first) has \(a) \(cast.things) and \(cast.second) has \(b). \
                    How many \(cast.things) do they have together?
                    """, steps: [.init(a, .add, b)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 9))
            return Story(
                text: """
                    \(cast.first) fills \(a) boxes and puts \(b) \(cast.things) into each. \
                    How many \(cast.things) are in the boxes?
                    """, steps: [.init(a, .multiply, b)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 90), draws.integer(from: 2, through: 90))
            let (more, less) = (max(a, b), min(a, b))
            return Story(
                text: """
                    \(cast.first) has \(more) \(cast.things) and \(cast.second) has \(less). \
                    How many more \(cast.things) does \(cast.first) have?
                    """, steps: [.init(more, .subtract, less)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 60))
            return Story(
                text: """
                    \(cast.first) rides \(a) kilometers to see \(cast.second), who has \(article(cast.thing)), \
                    and then \(b) kilometers more. How many kilometers does \(cast.first) ride?
                    """, steps: [.init(a, .add, b)], unit: "kilometers")
        },
    ]

    static let ofTwoSteps: [Teller] = [
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 90), draws.integer(from: 2, through: 90))
            let c = part(of: a + b, &draws)
            return Story(
                text: """
                    \(cast.first) has \(a) \(cast.things), finds \(b) more and gives \(c) to \(cast.second). \
                    How many \(cast.things) does \(cast.first) have left?
                    """, steps: [.init(a, .add, b), .init(a + b, .subtract, c)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 9))
            let c = draws.integer(from: 2, through: 90)
            return Story(
                text: """
                    \(cast.first) fills \(a) boxes with \(b) \(cast.things) each and has \(c) \(cast.things) besides. \
                    How many \(cast.things) does \(cast.first) have?
                    """, steps: [.init(a, .multiply, b), .init(a * b, .add, c)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 9))
            let c = a * b + draws.integer(from: 0, through: 90)
            return Story(
                text: """
                    One \(cast.thing) costs \(b) dollars. \(cast.first) has \(c) dollars and buys \(a) \(cast.things). \
                    How many dollars does \(cast.first) have left?
                    """, steps: [.init(a, .multiply, b), .init(c, .subtract, a * b)], unit: "dollars")
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 90), draws.integer(from: 2, through: 9))
            return Story(
                text: """
                    \(cast.first) has \(a) \(cast.things). \(cast.second) has \(b) times as many. \
                    How many \(cast.things) do they have together?
                    """, steps: [.init(a, .multiply, b), .init(a * b, .add, a)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 90), draws.integer(from: 2, through: 90))
            let c = a + b + draws.integer(from: 1, through: 90)
            return Story(
                text: """
                    The way from \(cast.first) to \(cast.second) is \(c) kilometers. \(cast.first) rides \(a) \
                    kilometers, eats \(article(cast.thing)) and rides \(b) kilometers. How many kilometers are left?
                    """, steps: [.init(a, .add, b), .init(c, .subtract, a + b)], unit: "kilometers")
        },
    ]

    static let ofThreeSteps: [Teller] = [
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 9))
            let c = draws.integer(from: 2, through: 90)
            let d = part(of: a * b + c, &draws)
            return Story(
                text: """
                    \(cast.first) fills \(a) boxes with \(b) \(cast.things) each, finds \(c) more and gives \(d) to \
                    \(cast.second). How many \(cast.things) does \(cast.first) have left?
                    """,
                steps: [.init(a, .multiply, b), .init(a * b, .add, c), .init(a * b + c, .subtract, d)],
                unit: cast.things)
        },
        { draws, cast in
            let (a, c) = (draws.integer(from: 2, through: 60), draws.integer(from: 2, through: 60))
            let (b, d) = (draws.integer(from: 2, through: 9), draws.integer(from: 2, through: 9))
            return Story(
                text: """
                    \(cast.first) has \(a) boxes with \(b) \(cast.things) each, and \(cast.second) has \(c) boxes with \
                    \(d) each. How many \(cast.things) do they have together?
                    """,
                steps: [.init(a, .multiply, b), .init(c, .multiply, d), .init(a * b, .add, c * d)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 90), draws.integer(from: 2, through: 90))
            let c = part(of: a, &draws)
            return Story(
                text: """
                    \(cast.first) has \(a) \(cast.things). \(cast.second) has \(b) more than \(cast.first). \
                    Together they sell \(c). How many \(cast.things) do they have left together?
                    """,
                steps: [.init(a, .add, b), .init(a, .add, a + b), .init(a + a + b, .subtract, c)], unit: cast.things)
        },
        { draws, cast in
            let (a, b) = (draws.integer(from: 2, through: 90), draws.integer(from: 2, through: 9))
            let (c, d) = (part(of: a * b, &draws), draws.integer(from: 2, through: 90))
            return Story(
                text: """
                    \(cast.first) earns \(a) dollars a week for \(b) weeks, pays \(c) dollars for \
                    \(article(cast.thing)) and gets \(d) dollars from \(cast.second). \
                    How many dollars does \(cast.first) have?
                    """,
                steps: [.init(a, .multiply, b), .init(a * b, .subtract, c), .init(a * b - c, .add, d)],
                unit: "dollars")
        },
    ]

    private static func article(_ thing: String) -> String {
        ("aeiou".contains(thing.prefix(1)) ? "an " : "a ") + thing
    }
}
