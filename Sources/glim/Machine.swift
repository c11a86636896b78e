import Foundation
import GlimTrain

/// What was seen of a machine. Plain data, so that the judgement below needs no machine.
struct Machine {
    var cpuinfo = ""
    var architecture = ""
    var coreCount = 1
    /// Cores that a container's quota amounts to, nil without one.
    var coreQuota: Double?
    var memory = 0
    /// A container's limit, nil without one.
    var memoryLimit: Int?
    var freeDisk: Int?
    var folder = "."
    /// The kernel's choice for transparent huge pages, nil where there is no such thing.
    var hugePages: String?
    var hasBubblewrap = false
    /// Whether a process without privileges got a user namespace, nil where that could not be tried.
    var givesNamespaces: Bool?
    var isLinux = true
}

// MARK: - Judgement

extension Machine {
    /// - Parameter kernels: name of the kernel table in use.
    func findings(kernels: String) -> [Finding] {
        [instructions(kernels), cores, ram, pages, disk, sandbox, python].compactMap(\.self)
    }

    private func instructions(_ kernels: String) -> Finding {
        let line = cpuinfo.split(separator: "\n").first { $0.hasPrefix("flags") || $0.hasPrefix("Features") } ?? ""
        let flags = Set(line.split(separator: " ").map(String.init))
        let name = "instructions"
        let using = "; kernels: \(kernels)"
        if flags.contains("avx512f") && flags.contains("avx512bw") && flags.contains("avx512vl") {
            let extras = [("avx512_bf16", "BF16"), ("avx512_vnni", "VNNI")].filter { flags.contains($0.0) }.map(\.1)
            let found = "AVX-512" + (extras.isEmpty ? "" : " with " + extras.joined(separator: " and "))
            return Finding(name: name, status: .good, found: found + using)
        }
        if flags.contains("avx2") && flags.contains("fma") {
            return Finding(name: name, status: .good, found: "AVX2 and FMA" + using)
        }
        if flags.contains("asimd") || architecture == "arm64" || architecture == "aarch64" {
            return Finding(name: name, status: .good, found: "NEON" + using)
        }
        return Finding(
            name: name, status: .fair, found: "\(architecture), no AVX2" + using,
            advice: "Everything runs on the portable kernels, several times slower; if this is a virtual machine, "
                + "let it see the host's processor.")
    }

    private var cores: Finding {
        if let coreQuota, coreQuota < Double(coreCount) {
            return Finding(
                name: "cores", status: .fair, found: "\(coreCount), with a quota of \(coreQuota)",
                advice: "Pass --threads \(max(Int(coreQuota), 1)), or lift the container's limit.")
        }
        return Finding(name: "cores", status: .good, found: "\(coreCount)")
    }

    private var ram: Finding {
        let usable = min(memory, memoryLimit ?? memory)
        let found = inGiB(usable) + (usable < memory ? " (limit of the container; \(inGiB(memory)) installed)" : "")
        let (status, advice): (Finding.Status, String?) =
            switch usable {
            case ..<(1 << 30): (.poor, "Even nano wants 1 GiB to train; use a larger machine.")
            case ..<(4 << 30): (.fair, "Enough for nano; micro wants 4 GiB to train, mini 16.")
            case ..<(16 << 30): (.fair, "Enough for nano and micro; mini wants 16 GiB to train.")
            default: (.good, nil)
            }
        return Finding(name: "memory", status: status, found: found, advice: advice)
    }

    private var pages: Finding? {
        guard let hugePages else { return nil }
        if hugePages == "never" {
            return Finding(
                name: "huge pages", status: .fair, found: hugePages,
                advice: "As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
        }
        return Finding(name: "huge pages", status: .good, found: hugePages)
    }

    private var disk: Finding {
        guard let freeDisk else {
            return Finding(
                name: "disk", status: .fair, found: "unknown at \(folder)", advice: "Check that 4 GiB are free.")
        }
        let (status, advice): (Finding.Status, String?) =
            switch freeDisk {
            case ..<(1 << 30): (.poor, "The quickstart writes up to 1 GiB: free some, or choose --out elsewhere.")
            case ..<(4 << 30): (.fair, "Enough for nano; checkpoints of larger models want more.")
            default: (.good, nil)
            }
        return Finding(name: "disk", status: status, found: "\(inGiB(freeDisk)) free at \(folder)", advice: advice)
    }

    private var sandbox: Finding {
        guard isLinux else {
            return Finding(name: "sandbox", status: .good, found: "sandbox-exec, part of the system")
        }
        let name = "sandbox"
        switch (hasBubblewrap, givesNamespaces) {
        case (_, false?):
            return Finding(
                name: name, status: .fair, found: "user namespaces are refused",
                advice: "Agents cannot be confined here: raise user.max_user_namespaces, set "
                    + "kernel.apparmor_restrict_unprivileged_userns to 0, or start the container with a seccomp "
                    + "profile that lets unshare through.")
        case (true, _):
            return Finding(name: name, status: .good, found: "bubblewrap")
        case (false, true?):
            return Finding(
                name: name, status: .good, found: "user namespaces, no bubblewrap",
                advice: "Optional: apt-get install bubblewrap")
        case (false, nil):
            return Finding(
                name: name, status: .fair, found: "neither bubblewrap nor unshare was found",
                advice: "To confine agents: apt-get install bubblewrap")
        }
    }

    private var python: Finding { Finding(name: "python", status: .good, found: "not needed") }

    private func inGiB(_ bytes: Int) -> String { String(format: "%.1f GiB", Double(bytes) / Double(1 << 30)) }
}

// MARK: - Looking

extension Machine {
    static func current() -> Machine {
        var machine = Machine()
        machine.architecture = machineName()
        machine.coreCount = ProcessInfo.processInfo.activeProcessorCount
        machine.memory = Int(clamping: ProcessInfo.processInfo.physicalMemory)
        machine.folder = FileManager.default.currentDirectoryPath
        let disk = try? FileManager.default.attributesOfFileSystem(forPath: machine.folder)
        machine.freeDisk = (disk?[.systemFreeSize] as? NSNumber)?.intValue
        #if os(Linux)
        machine.cpuinfo = text("/proc/cpuinfo") ?? ""
        if let quota = text("/sys/fs/cgroup/cpu.max")?.split(whereSeparator: \.isWhitespace), quota.count == 2,
            let used = Double(quota[0]), let period = Double(quota[1]), period > 0
        {
            machine.coreQuota = used / period
        }
        machine.memoryLimit = MemoryRoom.containerLimit
        // The file lists the choices and puts brackets around the one that holds.
        machine.hugePages = text("/sys/kernel/mm/transparent_hugepage/enabled")?
            .split(separator: "[").dropFirst().first?.split(separator: "]").first.map(String.init)
        machine.hasBubblewrap = program("bwrap") != nil
        machine.givesNamespaces = program("unshare").map { runs($0, ["--user", "--map-root-user", "true"]) }
        #else
        machine.isLinux = false
        #endif
        return machine
    }

    private static func text(_ path: String) -> String? {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func machineName() -> String {
        #if arch(arm64)
        "arm64"
        #elseif arch(x86_64)
        "x86_64"
        #else
        "unknown architecture"
        #endif
    }

    private static func program(_ name: String) -> String? {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        return folders.map { "\($0)/\(name)" }.first(where: FileManager.default.isExecutableFile(atPath:))
    }

    /// Whether a program ran and answered 0. Its output is dropped.
    private static func runs(_ program: String, _ arguments: [String]) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        (process.standardOutput, process.standardError) = (FileHandle.nullDevice, FileHandle.nullDevice)
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}
