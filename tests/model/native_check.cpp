// Runs the native library on pseudo-random input and prints its results, for a comparison between
// processors: `NAME LEVEL VALUES`, the values as hexadecimal float32 bits. Exits with status 1 if a
// row depends on those beside it, or a NaN vanishes.

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>

#include "native_check.h"
#include "step.cpp"

// In native_codec_check.cpp. Returns whether all kernels of the codec give the plain code's bits.
bool has_exact_codec_products();
// In native_prompt_check.cpp: guidance and sampling, and the text encoder.
void check_sampling(int level);
void check_text_encoder(void* pool, int level);

namespace {

// float16 bits of a value that float16 can represent, of magnitude at least 2^-14 or zero.
uint16_t to_float16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) == 0) return 0;
    return uint16_t((bits >> 16 & 0x8000u) | ((bits & 0x7fffffffu) - 0x38000000u) >> 13);
}

// Weights of a product with the memory they lie in.
struct Weights {
    std::vector<int8_t> bytes;
    std::vector<uint8_t> slices;
    std::vector<uint16_t> halves;
    std::vector<float> floats, scales;
    std::vector<int32_t> sums;
    Linear linear;

    Weights(Random& random, int outputs, int inputs, int form) {
        linear = {outputs, inputs, form, 0, nullptr, nullptr, nullptr};
        const int padded = linear.blocks() * BLOCK, width = linear.groups() * GROUP;
        scales = random.numbers(padded, 1.f / 1024.f);
        sums.resize(padded);
        bytes.resize(size_t(padded) * width);
        floats.resize(size_t(padded) * inputs);
        halves.resize(floats.size());
        for (int n = 0; n < outputs; ++n)
            for (int k = 0; k < inputs; ++k) {
                int number = int(random.next() % 255) - 127;
                sums[n] += number;
                size_t group = size_t(n / BLOCK) * linear.groups() + k / GROUP;
                bytes[(group * BLOCK + n % BLOCK) * GROUP + k % GROUP] = int8_t(number);
                size_t at = (size_t(n / BLOCK) * inputs + k) * BLOCK + n % BLOCK;
                floats[at] = float(number) / 1024.f;
                halves[at] = to_float16(floats[at]);
            }
        if (form == INT4) fill_slices(random);
        linear.scales = scales.data();
        linear.sums = sums.data();
        linear.weights = form == INT4    ? static_cast<const void*>(slices.data())
                         : form == INT8      ? static_cast<const void*>(bytes.data())
                         : form == FLOAT16 ? static_cast<const void*>(halves.data())
                                           : static_cast<const void*>(floats.data());
    }

    // Any bytes are weights of int4, also with the extreme levels and factors; -128 is no factor.
    void fill_slices(Random& random) {
        slices.resize(size_t(linear.blocks()) * linear.block_bytes());
        for (size_t i = 0; i < slices.size(); ++i) {
            slices[i] = uint8_t(random.next());
            if (i % SLICE_BYTES < CACHE_LINE && slices[i] == 0x80) slices[i] = 0x81;
        }
    }
};

void require(bool holds, const std::string& name) {
    if (holds) return;
    std::fprintf(stderr, "failed: %s\n", name.c_str());
    std::exit(1);
}

const char* const FORMS[] = {"int8", "float16", "float32", "int4"};

void check_product(void* pool, int level, int form, int outputs, int inputs) {
    // Kernels have up to 8 rows a pass, or two tiles of 16.
    constexpr int ROWS = 35, FEW = 9;
    Random random{uint32_t(outputs * inputs)};
    Weights weights(random, outputs, inputs, form);
    // Inputs whose sums are rounded, so that another order of additions shows.
    std::vector<float> x = random.numbers(size_t(ROWS) * inputs, 0.3f);
    std::vector<float> wanted(size_t(ROWS) * outputs);
    std::string name = std::string("product-") + FORMS[form] + "-" + std::to_string(outputs) + "x" +
                       std::to_string(inputs);
    native_multiply(pool, &weights.linear, x.data(), ROWS, wanted.data());
    print(name, level, wanted);
    // Every number of rows per pass, from every first row.
    for (int rows = 1; rows < ROWS; ++rows)
        for (int first = 0; first + rows <= (rows < FEW ? FEW : ROWS); ++first) {
            if (rows > FEW && rows % TILE_LINES > 1) continue;
            std::vector<float> found(size_t(rows) * outputs);
            native_multiply(pool, &weights.linear, &x[size_t(first) * inputs], rows, found.data());
            require(!std::memcmp(found.data(), &wanted[size_t(first) * outputs],
                                 found.size() * sizeof(float)),
                    name + " depends on the number of rows");
        }
    x[0] = NAN;
    x[size_t(2) * inputs - 1] = INFINITY;
    for (int rows : {3, ROWS}) {
        native_multiply(pool, &weights.linear, x.data(), rows, wanted.data());
        for (int n = 0; n < outputs; ++n)
            require(!weights.linear.is_integer() || std::isnan(wanted[n] + wanted[outputs + n]),
                    name + " loses a NaN");
        require(std::isfinite(wanted[2 * outputs]), name + " spreads a NaN to another row");
    }
}

// Number of the cache of type T, and its name.
template <typename T>
constexpr int CACHE = HAS_FACTORS<T>                  ? INT8_CACHE
                      : sizeof(T) == sizeof(float) ? FLOAT32_CACHE
                                                   : BFLOAT16_CACHE;
const char* CACHES[] = {"bfloat16", "float32", "int8"};

// Numbers that keys or values of a head need for `count` columns.
template <typename T>
size_t count_numbers(int count, int size) {
    return place_of<T>((count + TOGETHER - 1) / TOGETHER * TOGETHER, size);
}

// Keys or values [heads][columns][size].
template <typename T>
std::vector<T> to_cache(const std::vector<float>& values, int heads, int columns, int size) {
    const size_t head = count_numbers<T>(columns, size);
    std::vector<T> result(heads * head);
    for (int i = 0; i < heads; ++i)
        native_put_columns(values.data() + size_t(i) * columns * size, columns, size, CACHE<T>,
                           result.data() + i * head);
    return result;
}

template <typename T>
void check_attention(int level, int size, int count, float spread) {
    Random random{uint32_t(size * count)};
    std::vector<float> query = random.numbers(size, spread), scores(count), out(size);
    auto keys = to_cache<T>(random.numbers(size_t(count) * size), 1, count, size);
    auto values = to_cache<T>(random.numbers(size_t(count) * size), 1, count, size);
    std::string name = std::string("attention-") + CACHES[CACHE<T>];
    for (int each : {size, count, int(spread)}) name += "-" + std::to_string(each);
    // Also without the first columns.
    for (int first : {0, count / 3}) {
        native_attend(query.data(), keys.data(), values.data(), CACHE<T>, first, count - first,
                      size, scores.data(), out.data());
        print(name + "-" + std::to_string(first), level, out);
    }
    std::vector<float> last(size, 1.f);
    for (float bad : {NAN, INFINITY, -INFINITY}) {
        last[0] = bad;
        put_column(last.data(), size, count - 1, keys.data());
        native_attend(query.data(), keys.data(), values.data(), CACHE<T>, 0, count, size,
                      scores.data(), out.data());
        for (float each : out) require(!std::isfinite(each), name + " loses a NaN");
    }
}

// Size of a step's model and its activation.
struct Shape {
    int hidden, heads, ffn, activation;
};

// A decoder of two layers, with the memory of its weights.
struct Model {
    Random random;
    std::deque<Weights> weights;  // keeps the addresses of its elements
    std::deque<std::vector<float>> vectors;
    std::vector<NativeLayer> layers;
    NativeDecoder decoder{};

    Model(const Shape& shape, int form, int cache) : random{uint32_t(shape.hidden)} {
        const int hidden = shape.hidden;
        for (int i = 0; i < 2; ++i)
            layers.push_back({norm(hidden), norm(hidden), linear(3 * hidden, hidden, form),
                              linear(hidden, hidden, form), norm(hidden), norm(hidden),
                              linear(hidden, hidden, form), linear(hidden, hidden, form),
                              norm(hidden), norm(hidden), linear(shape.ffn, hidden, form),
                              linear(hidden, shape.ffn, form)});
        decoder.layers = 2;
        decoder.hidden = hidden;
        decoder.heads = shape.heads;
        decoder.ffn = shape.ffn;
        decoder.activation = shape.activation;
        decoder.cache = cache;
        decoder.layer = layers.data();
        decoder.norm_weight = norm(hidden);
        decoder.norm_bias = norm(hidden);
    }
    const float* norm(int size) { return vectors.emplace_back(random.numbers(size)).data(); }
    const Linear* linear(int outputs, int inputs, int form) {
        return &weights.emplace_back(random, outputs, inputs, form).linear;
    }
};

template <typename T>
void check_step(void* pool, int level, const Shape& shape, int form) {
    using Prompt = typename Step<T>::Prompt;
    // The rows are enough for tiles, those with a prompt too few.
    constexpr int POSITIONS = 40, COUNT = 9;
    Model model(shape, form, CACHE<T>);
    const int hidden = shape.hidden, size = hidden / shape.heads;
    const size_t numbers = size_t(2) * POSITIONS * hidden;
    std::vector<std::vector<T>> caches;
    std::vector<std::vector<Prompt>> prompts;
    for (int i = 0; i < 2 * COUNT; ++i) {
        auto own = model.random.numbers(numbers), prompt = model.random.numbers(numbers);
        caches.push_back(to_cache<T>(own, 2 * shape.heads, POSITIONS, size));
        prompts.push_back(to_cache<Prompt>(prompt, 2 * shape.heads, POSITIONS, size));
    }
    std::vector<NativeRow> rows;
    for (int r = 0; r < COUNT; ++r) {
        NativeRow row{};
        row.keys = caches[2 * r].data();
        row.values = caches[2 * r + 1].data();
        row.head_stride = int64_t(count_numbers<T>(POSITIONS, size));
        row.layer_stride = shape.heads * row.head_stride;
        row.cross_head_stride = int64_t(count_numbers<Prompt>(POSITIONS, size));
        row.cross_layer_stride = shape.heads * row.cross_head_stride;
        row.position = 4 * r + 3;
        row.first = r % 3;
        row.cross_length = 4 * r + 1;
        if (r % 2 == 0) {
            row.cross_keys = prompts[2 * r].data();
            row.cross_values = prompts[2 * r + 1].data();
        }
        rows.push_back(row);
    }
    std::vector<float> x = model.random.numbers(size_t(COUNT) * hidden);
    native_step(pool, &model.decoder, rows.data(), COUNT, x.data());
    print(std::string("step-") + FORMS[form] + "-" + CACHES[CACHE<T>] + "-" +
              std::to_string(hidden) + "-" +
              std::to_string(shape.activation),
          level, x);
}

}  // namespace

// The argument is the number of threads, 2 by default.
int main(int count, char** arguments) {
    void* pool = nullptr;
    if (native_open_pool(count > 1 ? std::atoi(arguments[1]) : 2, &pool) != DONE) return 1;
    for (int level = 1; level <= native_level(); ++level) {
        native_limit(level);
        require(has_exact_codec_products(), "codec at level " + std::to_string(level));
        check_sampling(level);
        check_text_encoder(pool, level);
        for (int form : {INT8, FLOAT16, FLOAT32, INT4}) {
            for (auto shape : {std::pair{1, 1}, {3, 5}, {70, 33}, {50, 130}, {128, 256}})
                check_product(pool, level, form, shape.first, shape.second);
            for (Shape shape : {Shape{128, 2, 200, 0}, {48, 3, 70, 1}})
                form == FLOAT32   ? check_step<float>(pool, level, shape, form)
                : form == FLOAT16 ? check_step<uint16_t>(pool, level, shape, form)
                                  : check_step<int8_t>(pool, level, shape, form);
        }
        for (int size : {8, 17, 64})
            for (int count : {1, 2, 3, 4, 5, 17, 36, 70, 200})
                for (float spread : {1.f, 30.f}) {
                    check_attention<float>(level, size, count, spread);
                    check_attention<uint16_t>(level, size, count, spread);
                    check_attention<int8_t>(level, size, count, spread);
                }
    }
    native_free_pool(pool);
}
