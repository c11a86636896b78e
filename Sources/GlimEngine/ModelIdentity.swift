public import Foundation
public import GlimModel

/// Names the model of a folder, for what is kept of it on disk.
public enum ModelIdentity {
    /// A name that is another as soon as a file of weights is: made of the config, and of names, sizes and times of
    /// change. Reading gigabytes to tell models apart would take longer than what is kept saves.
    ///
    /// - Parameter config: as the model runs, so that other number formats are another model.
    public static func of(folder: URL, _ config: ModelConfig) -> String {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        let files = names.filter { $0.hasSuffix(".safetensors") }.sorted().map { name in
            // Links are followed: downloads are often made of them.
            let path = folder.appending(path: name).resolvingSymlinksInPath().path
            let attributes = try? FileManager.default.attributesOfItem(atPath: path)
            let changed = (attributes?[.modificationDate] as? Date)?.timeIntervalSince1970 ?? 0
            return "\(name) \((attributes?[.size] as? NSNumber)?.intValue ?? 0) \(changed)"
        }
        return ([folder.lastPathComponent, "\(config)"] + files).joined(separator: "\n")
    }
}
