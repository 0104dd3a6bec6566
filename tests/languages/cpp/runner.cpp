// The C++ runner: reads commands from standard input, one a line, and answers each on standard output. README.md, one folder
// up, says which commands there are and how words are written. It uses the C header as it is, with destructors that free.
#include <coffer.h>

#include <cinttypes>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Words = std::vector<std::string>;

constexpr int64_t kPatienceMs = 60000;
constexpr int64_t kLockTtlS = 10;

// A call that failed.
struct Failure {
    coffer_status status;
};

// An error object that is freed.
struct Error {
    coffer_error it{};
    ~Error() { coffer_error_free(&it); }
    operator coffer_error *() { return &it; }
};

// Throws if a call failed; answers below 100 are no failures.
coffer_status check(coffer_status status, Error &error) {
    if (status >= 100) {
        coffer_error_info info = coffer_error_info_init();
        if (coffer_error_get(error.it, &info) == COFFER_OK) {
            std::cerr << info.context << ": " << info.message << '\n';
        }
        throw Failure{status};
    }
    return status;
}

// A result that is freed.
struct Result {
    coffer_result it = coffer_result_init();
    Result() = default;
    Result(const Result &) = delete;
    Result &operator=(const Result &) = delete;
    ~Result() { coffer_result_free(&it); }
    operator coffer_result *() { return &it; }
    coffer_result *operator->() { return &it; }
    bool succeeded() const { return (it.flags & COFFER_RESULT_SUCCEEDED) != 0; }
};

coffer_bytes bytes(const std::string &text) { return coffer_bytes_of(text.data(), text.size()); }

std::string text(coffer_bytes it) { return it.len == 0 ? std::string() : std::string(reinterpret_cast<const char *>(it.data), it.len); }

// Words.

std::string decode(const std::string &word) {
    unsigned long long length, seed;
    std::string decoded;
    if (std::sscanf(word.c_str(), "@%llu:%llu", &length, &seed) == 2) {
        for (uint64_t state = seed; decoded.size() < length;) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            decoded.push_back(static_cast<char>(state >> 56));
        }
        return decoded;
    }
    for (size_t i = 0; i < word.size(); i++) {
        if (word[i] != '%') {
            decoded.push_back(word[i]);
        } else if (i + 2 < word.size()) {
            decoded.push_back(static_cast<char>(std::stoi(word.substr(i + 1, 2), nullptr, 16)));
            i += 2;
        }
    }
    return decoded;
}

struct Digest {
    uint64_t sum = UINT64_C(14695981039346656037);
    void add(coffer_bytes it) {
        for (size_t i = 0; i < it.len; i++) {
            sum = (sum ^ it.data[i]) * UINT64_C(1099511628211);
        }
    }
    std::string hex() const {
        char text[17];
        std::snprintf(text, sizeof text, "%016" PRIx64, sum);
        return text;
    }
};

std::string encode(coffer_bytes it) {
    if (it.len > 256) {
        Digest digest;
        digest.add(it);
        return "#" + std::to_string(it.len) + ":" + digest.hex();
    }
    std::string encoded = it.len == 0 ? "%" : "";
    for (unsigned char byte : text(it)) {
        bool alphanumeric = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        if (alphanumeric || std::string("/._~-").find(static_cast<char>(byte)) != std::string::npos) {
            encoded.push_back(static_cast<char>(byte));
        } else {
            char hex[4];
            std::snprintf(hex, sizeof hex, "%%%02X", byte);
            encoded += hex;
        }
    }
    return encoded;
}

int64_t number(const std::string &word) { return std::stoll(word); }

// A transaction that is closed.
class Txn {
  public:
    Txn() {
        Error error;
        check(coffer_txn_new(&txn_, error), error);
    }
    Txn(const Txn &) = delete;
    Txn &operator=(const Txn &) = delete;
    ~Txn() { coffer_txn_close(txn_, nullptr); }

    void compare(const std::string &key, uint32_t target, uint32_t relation, int64_t number, const std::string &value) {
        Error error;
        coffer_key_range range = coffer_key(bytes(key));
        check(coffer_txn_compare(txn_, &range, target, relation, number, bytes(value), error), error);
    }
    void put(uint32_t branch, const std::string &key, const std::string &value, int64_t lease = 0) {
        Error error;
        coffer_put_options options = coffer_put_options_init();
        options.lease = lease;
        check(coffer_txn_put(txn_, branch, bytes(key), bytes(value), &options, error), error);
        kinds[branch].push_back("put");
    }
    void get(uint32_t branch, const std::string &key) {
        Error error;
        coffer_key_range range = coffer_key(bytes(key));
        check(coffer_txn_range(txn_, branch, &range, nullptr, error), error);
        kinds[branch].push_back("get");
    }
    void remove(uint32_t branch, const std::string &key) {
        Error error;
        coffer_key_range range = coffer_key(bytes(key));
        check(coffer_txn_delete(txn_, branch, &range, 0, error), error);
        kinds[branch].push_back("delete");
    }
    void commit(coffer_store store, Result &result) {
        Error error;
        check(coffer_txn_commit(store, txn_, nullptr, result, error), error);
    }

    std::vector<std::string> kinds[2];

  private:
    coffer_txn txn_{};
};

// A watch of a range, one event at a time.
class Watch {
  public:
    Watch(coffer_store store, coffer_key_range range, uint32_t flags, int64_t start_revision) {
        Error error;
        coffer_watch_options options = coffer_watch_options_init();
        options.flags = flags;
        options.start_revision = start_revision;
        check(coffer_watch_open(store, &range, &options, nullptr, &watch_, error), error);
    }
    Watch(const Watch &) = delete;
    Watch &operator=(const Watch &) = delete;
    ~Watch() {
        coffer_result_free(&news_);
        coffer_watch_close(watch_, nullptr);
    }

    // Valid until the next call; null, and `status`, if nothing came.
    const coffer_event *next(coffer_status &status) {
        while (next_ == news_.event_count) {
            Error error;
            coffer_result_free(&news_);
            next_ = 0;
            status = check(coffer_watch_next(watch_, kPatienceMs, &news_, error), error);
            if (status != COFFER_OK) {
                return nullptr;
            }
        }
        return &news_.events[next_++];
    }

    int64_t resume() {
        Error error;
        int64_t revision;
        check(coffer_watch_resume(watch_, &revision, error), error);
        return revision;
    }

  private:
    coffer_watch watch_{};
    coffer_result news_ = coffer_result_init();
    size_t next_ = 0;
};

// A lease that is kept alive while this lives.
class Keeper {
  public:
    Keeper(coffer_store store, int64_t lease) {
        Error error;
        check(coffer_keeper_open(store, lease, nullptr, &keeper_, error), error);
    }
    Keeper(const Keeper &) = delete;
    Keeper &operator=(const Keeper &) = delete;
    ~Keeper() { coffer_keeper_close(keeper_, nullptr); }

    coffer_status wait() {
        Error error;
        return check(coffer_keeper_wait(keeper_, kPatienceMs, error), error);
    }

  private:
    coffer_keeper keeper_{};
};

// A lease that is revoked at the end.
struct Lease {
    coffer_store store;
    int64_t id = 0;
    explicit Lease(coffer_store store) : store(store) {
        Error error;
        Result granted;
        check(coffer_lease_grant(store, kLockTtlS, 0, nullptr, granted, error), error);
        id = granted->lease;
    }
    ~Lease() { static_cast<void>(!coffer_lease_revoke(store, id, nullptr, nullptr, nullptr)); }
};

// A lock that is held while this lives: a key of our own under its name.
class Lock {
  public:
    Lock(coffer_store store, const std::string &name) : lease_(store), keeper_(store, lease_.id) {
        std::ostringstream key;
        key << name << '/' << std::hex << static_cast<uint64_t>(lease_.id);
        key_ = key.str();
        Txn txn;
        Result done;
        txn.compare(key_, COFFER_COMPARE_CREATE, COFFER_IS_EQUAL, 0, "");
        txn.put(COFFER_THEN, key_, "", lease_.id);
        txn.commit(store, done);
        fence = done->revision;
        while (!is_first(name)) {
        }
    }

    // Writes if the lock is still ours.
    void put(const std::string &key, const std::string &value, Result &done) {
        Txn txn;
        txn.compare(key_, COFFER_COMPARE_CREATE, COFFER_IS_EQUAL, fence, "");
        txn.put(COFFER_THEN, key, value);
        txn.commit(lease_.store, done);
    }

    int64_t fence = 0;

  private:
    // Whether nobody is in front of us; else waits until whoever is there has left.
    bool is_first(const std::string &name) {
        Error error;
        Result before;
        std::string prefix = name + "/";
        coffer_key_range range = coffer_prefix(bytes(prefix));
        coffer_read_options options = coffer_read_options_init();
        options.limit = 1;
        options.sort = COFFER_SORT_CREATE;
        options.order = COFFER_ORDER_DESCEND;
        options.max_create_revision = fence - 1;
        check(coffer_range(lease_.store, &range, &options, nullptr, before, error), error);
        if (before->kv_count == 0) {
            return true;
        }
        coffer_status status;
        Watch(lease_.store, coffer_key(before->kvs[0].key), COFFER_WATCH_NO_PUT, before->revision + 1).next(status);
        return false;
    }

    Lease lease_;
    Keeper keeper_;
    std::string key_;
};

// What happens at once with everything else: a number is raised, so often.
struct Job {
    std::thread thread;
    coffer_status status = COFFER_OK;
};

class Runner {
  public:
    // The answer to a command.
    std::string run(const std::string &command, const Words &words) {
        auto found = commands_.find(command);
        try {
            return found == commands_.end() ? "error UNKNOWN_COMMAND" : (this->*found->second)(words);
        } catch (const Failure &failure) {
            return std::string("error ") + (coffer_status_name(failure.status) + std::string("COFFER_").size());
        }
    }

  private:
    using Command = std::string (Runner::*)(const Words &);
    static const std::map<std::string, Command> commands_;

    std::string open(const Words &words) {
        Error error;
        Words names;
        std::vector<coffer_option> options;
        names.reserve(words.size());
        for (size_t i = 1; i < words.size(); i++) {
            size_t at = words[i].find('=');
            names.push_back(words[i].substr(0, at));
            options.push_back({names.back().c_str(), words[i].c_str() + at + 1});
        }
        coffer_store opened{};
        check(coffer_open(COFFER_ABI_VERSION, words[0].c_str(), options.data(), options.size(), &opened, error), error);
        store_ = opened;
        return "ok";
    }

    std::string close(const Words &) {
        Error error;
        check(coffer_close(store_, error), error);
        return "ok";
    }

    std::string put(const Words &words) {
        Error error;
        Result done;
        coffer_put_options options = coffer_put_options_init();
        options.lease = words.size() > 2 ? number(words[2]) : 0;
        check(coffer_put(store_, bytes(words[0]), bytes(words[1]), &options, nullptr, done, error), error);
        return "ok " + std::to_string(done->revision);
    }

    std::string swap(const Words &words) {
        Error error;
        Result done;
        coffer_put_options options = coffer_put_options_init();
        options.flags = COFFER_PUT_PREVIOUS;
        check(coffer_put(store_, bytes(words[0]), bytes(words[1]), &options, nullptr, done, error), error);
        return "ok " + std::to_string(done->revision) + " " + (done->kv_count > 0 ? encode(done->kvs[0].value) : "none");
    }

    std::string get(const Words &words) {
        Error error;
        Result found;
        coffer_read_options options = coffer_read_options_init();
        options.revision = words.size() > 1 ? number(words[1]) : 0;
        if (check(coffer_get(store_, bytes(words[0]), &options, nullptr, found, error), error) == COFFER_NOT_FOUND) {
            return "none";
        }
        const coffer_kv &kv = found->kvs[0];
        std::ostringstream answer;
        answer << encode(kv.value) << ' ' << kv.create_revision << ' ' << kv.mod_revision << ' ' << kv.version << ' ' << kv.lease;
        return answer.str();
    }

    std::string range(const Words &words) {
        Error error;
        Result found;
        coffer_key_range range = coffer_prefix(bytes(words[0]));
        coffer_read_options options = coffer_read_options_init();
        options.limit = words.size() > 1 ? number(words[1]) : 0;
        check(coffer_range(store_, &range, &options, nullptr, found, error), error);
        std::ostringstream answer;
        for (size_t i = 0; i < found->kv_count; i++) {
            answer << encode(found->kvs[i].key) << ' ' << encode(found->kvs[i].value) << '\n';
        }
        answer << "end " << found->count << (found->flags & COFFER_RESULT_MORE ? " more" : " all");
        return answer.str();
    }

    std::string scan(const Words &words) {
        Error error;
        coffer_iter pages{};
        coffer_key_range range = coffer_prefix(bytes(words[0]));
        check(coffer_iter_open(store_, &range, nullptr, &pages, error), error);
        Digest digest;
        size_t keys = 0;
        for (;;) {
            Result page;
            if (check(coffer_iter_next(pages, nullptr, page, error), error) == COFFER_END) {
                break;
            }
            for (size_t i = 0; i < page->kv_count; i++) {
                digest.add(page->kvs[i].key);
                digest.add(page->kvs[i].value);
            }
            keys += page->kv_count;
        }
        coffer_iter_close(pages, nullptr);
        return "end " + std::to_string(keys) + " " + digest.hex();
    }

    std::string remove(coffer_key_range range) {
        Error error;
        Result done;
        check(coffer_delete(store_, &range, 0, nullptr, done, error), error);
        return "ok " + std::to_string(done->revision) + " " + std::to_string(done->count);
    }
    std::string remove_key(const Words &words) { return remove(coffer_key(bytes(words[0]))); }
    std::string remove_prefix(const Words &words) { return remove(coffer_prefix(bytes(words[0]))); }

    std::string txn(const Words &) {
        txn_ = std::make_unique<Txn>();
        return "ok";
    }

    std::string txn_if(const Words &words) {
        static const std::map<std::string, uint32_t> targets = {
            {"version", COFFER_COMPARE_VERSION}, {"create", COFFER_COMPARE_CREATE}, {"mod", COFFER_COMPARE_MOD},
            {"value", COFFER_COMPARE_VALUE},     {"lease", COFFER_COMPARE_LEASE}};
        static const std::map<std::string, uint32_t> relations = {
            {"=", COFFER_IS_EQUAL}, {">", COFFER_IS_GREATER}, {"<", COFFER_IS_LESS}, {"!", COFFER_IS_NOT_EQUAL}};
        bool of_value = words[1] == "value";
        txn_->compare(words[0], targets.at(words[1]), relations.at(words[2]), of_value ? 0 : number(words[3]),
                      of_value ? words[3] : "");
        return "ok";
    }

    std::string operation(uint32_t branch, const Words &words) {
        if (words[0] == "put") {
            txn_->put(branch, words[1], words[2]);
        } else if (words[0] == "get") {
            txn_->get(branch, words[1]);
        } else {
            txn_->remove(branch, words[1]);
        }
        return "ok";
    }
    std::string txn_then(const Words &words) { return operation(COFFER_THEN, words); }
    std::string txn_else(const Words &words) { return operation(COFFER_ELSE, words); }

    std::string commit(const Words &) {
        std::unique_ptr<Txn> txn = std::move(txn_);
        Result done;
        txn->commit(store_, done);
        std::string answer = (done.succeeded() ? "yes " : "no ") + std::to_string(done->revision);
        const auto &kinds = txn->kinds[done.succeeded() ? COFFER_THEN : COFFER_ELSE];
        for (size_t i = 0; i < done->part_count; i++) {
            const coffer_result &part = done->parts[i];
            answer += "\n" + kinds[i];
            if (kinds[i] == "delete") {
                answer += " " + std::to_string(part.count);
            } else if (kinds[i] == "get") {
                answer += " " + (part.kv_count > 0 ? encode(part.kvs[0].value) : "none");
            }
        }
        return answer;
    }

    std::string watch(const Words &words) {
        watch_.reset();
        watch_ = std::make_unique<Watch>(store_, coffer_prefix(bytes(words[0])), 0, words.size() > 1 ? number(words[1]) : 0);
        return "ok";
    }

    std::string next(const Words &) {
        coffer_status status = COFFER_OK;
        const coffer_event *event = watch_->next(status);
        if (event == nullptr) {
            return status == COFFER_END ? "end" : "nothing";
        }
        std::string answer = event->kind == COFFER_EVENT_PUT ? "put " : "delete ";
        answer += encode(event->kv.key);
        if (event->kind == COFFER_EVENT_PUT) {
            answer += " " + encode(event->kv.value);
        }
        return answer + " " + std::to_string(event->kv.mod_revision);
    }

    std::string resume(const Words &) { return std::to_string(watch_->resume()); }

    std::string unwatch(const Words &) {
        watch_.reset();
        return "ok";
    }

    std::string grant(const Words &words) {
        Error error;
        Result lease;
        int64_t id = words.size() > 1 ? number(words[1]) : 0;
        check(coffer_lease_grant(store_, number(words[0]), id, nullptr, lease, error), error);
        return "ok " + std::to_string(lease->lease) + " " + std::to_string(lease->ttl_s);
    }

    std::string revoke(const Words &words) {
        Error error;
        check(coffer_lease_revoke(store_, number(words[0]), nullptr, nullptr, error), error);
        return "ok";
    }

    std::string renew(const Words &words) {
        Error error;
        Result lease;
        check(coffer_lease_renew(store_, number(words[0]), nullptr, lease, error), error);
        return "ok " + std::to_string(lease->ttl_s);
    }

    std::string lease(const Words &words) {
        Error error;
        Result lease;
        check(coffer_lease_time_to_live(store_, number(words[0]), 1, nullptr, lease, error), error);
        if (lease->ttl_s <= 0) {
            return "none";
        }
        std::string answer = "ok " + std::to_string(lease->granted_ttl_s);
        for (size_t i = 0; i < lease->kv_count; i++) {
            answer += " " + encode(lease->kvs[i].key);
        }
        return answer;
    }

    std::string keep(const Words &words) {
        keeper_.reset();
        keeper_ = std::make_unique<Keeper>(store_, number(words[0]));
        return "ok";
    }

    std::string lost(const Words &) {
        keeper_->wait();
        return "kept";
    }

    std::string unkeep(const Words &) {
        keeper_.reset();
        return "ok";
    }

    // The number under a key, and the revision that wrote it.
    static std::pair<int64_t, int64_t> read_number(coffer_store store, const std::string &key) {
        Error error;
        Result found;
        bool there = check(coffer_get(store, bytes(key), nullptr, nullptr, found, error), error) == COFFER_OK;
        return there ? std::make_pair(number(text(found->kvs[0].value)), found->kvs[0].mod_revision)
                     : std::make_pair(INT64_C(0), INT64_C(0));
    }

    // Adds one, if nobody wrote the number since it was read; else again.
    static void add_one(coffer_store store, const std::string &key) {
        for (bool done = false; !done;) {
            auto [value, seen] = read_number(store, key);
            Txn txn;
            Result result;
            txn.compare(key, COFFER_COMPARE_MOD, COFFER_IS_EQUAL, seen, "");
            txn.put(COFFER_THEN, key, std::to_string(value + 1));
            txn.commit(store, result);
            done = result.succeeded();
        }
    }

    // Adds one without looking whether somebody else writes: the lock keeps them out.
    static void add_one_locked(coffer_store store, const std::string &name, const std::string &key) {
        Lock lock(store, name);
        Result done;
        lock.put(key, std::to_string(read_number(store, key).first + 1), done);
        if (!done.succeeded()) {
            throw Failure{COFFER_LEASE_NOT_FOUND};
        }
    }

    std::string start(const std::string &times, std::function<void()> once) {
        auto job = std::make_shared<Job>();
        job->thread = std::thread([job = job.get(), count = number(times), once = std::move(once)] {
            try {
                for (int64_t i = 0; i < count; i++) {
                    once();
                }
            } catch (const Failure &failure) {
                job->status = failure.status;
            }
        });
        jobs_.push_back(std::move(job));
        return "ok";
    }
    std::string add(const Words &words) {
        return start(words[1], [store = store_, key = words[0]] { add_one(store, key); });
    }
    std::string add_locked(const Words &words) {
        return start(words[2], [store = store_, name = words[0], key = words[1]] { add_one_locked(store, name, key); });
    }

    std::string join(const Words &) {
        coffer_status status = COFFER_OK;
        for (const auto &job : jobs_) {
            job->thread.join();
            status = job->status == COFFER_OK ? status : job->status;
        }
        jobs_.clear();
        if (status != COFFER_OK) {
            throw Failure{status};
        }
        return "ok";
    }

    std::string lock(const Words &words) {
        lock_ = std::make_unique<Lock>(store_, words[0]);
        return "ok " + std::to_string(lock_->fence);
    }

    std::string put_fenced(const Words &words) {
        Result done;
        lock_->put(words[0], words[1], done);
        return done.succeeded() ? "ok " + std::to_string(done->revision) : "lost";
    }

    std::string unlock(const Words &) {
        lock_.reset();
        return "ok";
    }

    std::string compact(const Words &words) {
        Error error;
        check(coffer_compact(store_, number(words[0]), 0, nullptr, nullptr, error), error);
        return "ok";
    }

    std::string hash(const Words &) {
        Error error;
        Result found;
        check(coffer_hash_kv(store_, 0, nullptr, found, error), error);
        return std::to_string(found->hash);
    }

    std::string keys(const Words &) {
        Error error;
        Result found;
        check(coffer_key_status(store_, found, error), error);
        std::string answer = "ok";
        for (size_t i = 0; i < found->keys->slot_count; i++) {
            answer += std::string(" ") + found->keys->slots[i].kind;
        }
        return answer;
    }

    std::string rotate_data(const Words &) {
        Error error;
        check(coffer_key_rotate_data(store_, COFFER_ROTATE_REWRITE, nullptr, error), error);
        return "ok";
    }

    std::string rotate_key(const Words &words) {
        Error error;
        coffer_option option = {"seal-key-file", words[0].c_str()};
        check(coffer_key_rotate_kek(store_, 0, &option, 1, nullptr, error), error);
        return "ok";
    }

    coffer_store store_{};
    std::unique_ptr<Txn> txn_;
    std::unique_ptr<Watch> watch_;
    std::unique_ptr<Keeper> keeper_;
    std::unique_ptr<Lock> lock_;
    std::vector<std::shared_ptr<Job>> jobs_;
};

const std::map<std::string, Runner::Command> Runner::commands_ = {
    {"open", &Runner::open},
    {"close", &Runner::close},
    {"put", &Runner::put},
    {"swap", &Runner::swap},
    {"get", &Runner::get},
    {"range", &Runner::range},
    {"scan", &Runner::scan},
    {"delete", &Runner::remove_key},
    {"delete-prefix", &Runner::remove_prefix},
    {"txn", &Runner::txn},
    {"if", &Runner::txn_if},
    {"then", &Runner::txn_then},
    {"else", &Runner::txn_else},
    {"commit", &Runner::commit},
    {"watch", &Runner::watch},
    {"next", &Runner::next},
    {"resume", &Runner::resume},
    {"unwatch", &Runner::unwatch},
    {"grant", &Runner::grant},
    {"revoke", &Runner::revoke},
    {"renew", &Runner::renew},
    {"lease", &Runner::lease},
    {"keep", &Runner::keep},
    {"lost", &Runner::lost},
    {"unkeep", &Runner::unkeep},
    {"add", &Runner::add},
    {"add-locked", &Runner::add_locked},
    {"join", &Runner::join},
    {"lock", &Runner::lock},
    {"put-fenced", &Runner::put_fenced},
    {"unlock", &Runner::unlock},
    {"compact", &Runner::compact},
    {"hash", &Runner::hash},
    {"keys", &Runner::keys},
    {"rotate-data", &Runner::rotate_data},
    {"rotate-key", &Runner::rotate_key},
};

}  // namespace

int main() {
    Runner runner;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream parts(line);
        std::string command;
        Words words;
        parts >> command;
        for (std::string word; parts >> word;) {
            words.push_back(decode(word));
        }
        std::cout << runner.run(command, words) << std::endl;
    }
}
