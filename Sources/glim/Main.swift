import ArgumentParser

@main struct Glim: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "glim", abstract: "All of GLM-5, in Swift.")
}
