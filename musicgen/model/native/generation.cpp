// One step of generation for all jobs of a batch: guidance, sampling, the known tokens of the delay
// pattern, the embedding of the new columns, all layers, and the logits after them.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "sampling.h"
#include "step.h"

extern "C" {

struct NativeGenerator {
    const NativeDecoder* decoder;
    const Linear* heads;
    const float* embeddings;  // [codebooks][vocabulary + 1][hidden]
    int32_t codebooks, vocabulary;
};

// One window of a job. Its first decoder rows are its clips; the unconditional rows of the guided
// clips follow. Draws start at `first_column`; `position` is the number of cached columns.
struct NativeJob {
    int32_t clips, guided, length, first_column;
    const int32_t* guided_clips;  // [guided]
    const float* guidance;        // [guided]
    const NativeSampling* sampling;  // [clips]
    const double* draws;             // [clips][length - first_column][codebooks]
    int64_t* sequence;               // [clips][codebooks][length]; -1 is unknown
    float* logits;                   // [rows][codebooks][vocabulary]
    const float* positions;          // [capacity][hidden]
    const int32_t* padding;          // [rows] or null: masked columns at the beginning
    NativeRow* rows;
    int32_t next_column, position, finite, unused;
};
}

namespace {

using namespace native;

constexpr int64_t UNKNOWN = -1;

// One token to choose.
struct Choice {
    NativeJob* job;
    int clip, codebook;
    int64_t token = 0;
    bool is_finite = true;
};

// One decoder row to embed; its column's tokens are consecutive choices.
struct Input {
    NativeJob* job;
    int row;
    const Choice* column;
};

// Memory of one thread for its choices.
struct Chooser {
    std::vector<float> mixed;
    Sampler sampler;

    explicit Chooser(int vocabulary)
        : mixed(size_t(vocabulary) + CACHE_LINE / sizeof(float)), sampler(vocabulary) {}
};

template <typename T>
struct Generation : Work {
    const NativeGenerator& model;
    std::vector<Choice> choices;
    std::vector<Input> inputs;
    std::vector<NativeRow> rows;
    std::vector<float> x;
    std::vector<Chooser> choosers;  // one per thread

    Generation(int threads, const NativeGenerator& model, NativeJob** jobs, int count)
        : model(model), choosers(size_t(threads), Chooser(model.vocabulary)) {
        size_t total = 0;
        for (int j = 0; j < count; ++j) total += size_t(jobs[j]->clips) * model.codebooks;
        choices.reserve(total);
        for (int j = 0; j < count; ++j) add(*jobs[j]);
        x.resize(inputs.size() * model.decoder->hidden);
    }

    void add(NativeJob& job) {
        const Choice* first = choices.data() + choices.size();
        for (int clip = 0; clip < job.clips; ++clip)
            for (int k = 0; k < model.codebooks; ++k) choices.push_back({&job, clip, k});
        // The last column needs no prediction after it.
        if (job.next_column + 1 >= job.length) return;
        for (int r = 0; r < job.clips + job.guided; ++r) {
            int clip = r < job.clips ? r : job.guided_clips[r - job.clips];
            inputs.push_back({&job, r, first + size_t(clip) * model.codebooks});
            NativeRow row = job.rows[r];
            row.position = job.position;
            row.first = job.padding == nullptr ? 0 : std::min(job.padding[r], job.position);
            rows.push_back(row);
        }
    }

    void run(Pool& pool) {
        const int count = int(rows.size());
        Step<T> step(pool.threads(), *model.decoder, rows.data(), count, x.data());
        for (Scratch& own : step.scratch) own.quantized.reserve(*model.heads, count);
        layers = &step;
        pool.run(*this);
    }

    void run(int thread, int threads, Barrier& barrier) override {
        choose(thread, threads);
        if (inputs.empty()) return;
        barrier.wait();
        for (size_t i = thread; i < inputs.size(); i += threads)
            embed(inputs[i], x.data() + i * model.decoder->hidden);
        barrier.wait();
        layers->run(thread, threads, barrier);
        Quantized& quantized = layers->scratch[size_t(thread)].quantized;
        const int count = int(inputs.size()), width_of_row = model.heads->outputs;
        Operand operand = quantized.of(*model.heads, x.data(), model.decoder->hidden, count);
        product(*model.heads, operand, count, thread, threads,
                Copied{[&](int r) {
                    const Input& input = inputs[r];
                    return input.job->logits + size_t(input.row) * width_of_row;
                }});
    }

    // Chooses this thread's tokens.
    void choose(int thread, int threads) {
        Chooser& own = choosers[size_t(thread)];
        for (size_t i = thread; i < choices.size(); i += threads) {
            Choice& choice = choices[i];
            const NativeJob& job = *choice.job;
            const float* logits = guided(choice, own.mixed.data());
            choice.is_finite = are_finite(logits, model.vocabulary);
            choice.token = job.sequence[place(choice)];
            if (choice.token != UNKNOWN) continue;
            int64_t step = job.next_column - job.first_column;
            int64_t steps = job.length - job.first_column;
            double draw = job.draws[(choice.clip * steps + step) * model.codebooks +
                                    choice.codebook];
            // Logits with a NaN have no order; the job fails by its flag.
            choice.token =
                choice.is_finite ? own.sampler.sample(logits, job.sampling[choice.clip], draw) : 0;
        }
    }

    // Returns the guided logits of a choice, in `mixed` where guidance applies.
    const float* guided(const Choice& choice, float* mixed) const {
        const NativeJob& job = *choice.job;
        auto of_row = [&](int row) {
            return job.logits +
                   (size_t(row) * model.codebooks + choice.codebook) * model.vocabulary;
        };
        const float* own = of_row(choice.clip);
        for (int g = 0; g < job.guided; ++g) {
            if (job.guided_clips[g] != choice.clip) continue;
            guide(own, of_row(job.clips + g), job.guidance[g], model.vocabulary, mixed);
            return mixed;
        }
        return own;
    }

    size_t place(const Choice& choice) const {
        const NativeJob& job = *choice.job;
        return (size_t(choice.clip) * model.codebooks + choice.codebook) * job.length +
               job.next_column;
    }

    // Embeds the new column of one row at its position.
    void embed(const Input& input, float* out) const {
        const NativeJob& job = *input.job;
        const int hidden = model.decoder->hidden;
        std::fill_n(out, hidden, 0.f);
        for (int k = 0; k < model.codebooks; ++k) {
            size_t token = size_t(k) * (model.vocabulary + 1) + size_t(input.column[k].token);
            const float* vector = model.embeddings + token * hidden;
            for (int i = 0; i < hidden; ++i) out[i] += vector[i];
        }
        int padding = job.padding == nullptr ? 0 : job.padding[input.row];
        const float* angle = job.positions + size_t(std::max(job.position - padding, 0)) * hidden;
        for (int i = 0; i < hidden; ++i) out[i] += angle[i];
    }

    // Stores the columns; nothing can fail from here on.
    void store(NativeJob** jobs, int count) {
        for (const Choice& choice : choices) {
            choice.job->sequence[place(choice)] = choice.token;
            if (!choice.is_finite) choice.job->finite = 0;
        }
        for (int j = 0; j < count; ++j) {
            NativeJob& job = *jobs[j];
            if (job.next_column + 1 < job.length) ++job.position;
            // Another thread may read the sequence up to this column.
            __atomic_store_n(&job.next_column, job.next_column + 1, __ATOMIC_RELEASE);
        }
    }

  private:
    Step<T>* layers = nullptr;
};

template <typename T>
void generate(Pool& pool, const NativeGenerator& model, NativeJob** jobs, int count) {
    Generation<T> work(pool.threads(), model, jobs, count);
    work.run(pool);
    work.store(jobs, count);
}

}  // namespace

extern "C" {

// Runs one step of each job: samples the next column and predicts the one after it. Returns its
// status; after a failure, the jobs are unchanged.
int native_generate(void* pool, const NativeGenerator* model, NativeJob** jobs, int count) {
    return status_of([&] {
        auto& threads = *static_cast<Pool*>(pool);
        with_cache(model->decoder->cache, [&](auto type) {
            generate<decltype(type)>(threads, *model, jobs, count);
        });
    });
}

// Samples one token from finite logits, for tests. Returns its status.
int native_sample(const float* logits, int vocabulary, const NativeSampling* rules, double draw,
                  int64_t* token) {
    return status_of([&] { *token = Sampler(vocabulary).sample(logits, *rules, draw); });
}
}
