/* See sentencepiece_shim.h. */
#include "third_party/sentencepiece_shim.h"
#include <cstdio>
#include <exception>
#include <sentencepiece_processor.h>
#include <string>
#include <vector>

struct espl_spm {
    sentencepiece::SentencePieceProcessor processor;
};

static void tell(char *message, size_t message_bytes, const std::string &text) {
    std::snprintf(message, message_bytes, "%s", text.c_str());
}

/* Runs body; returns false with the message if it throws. */
template <class Body> static bool guarded(char *message, size_t message_bytes, Body body) {
    try {
        return body();
    } catch (const std::exception &error) {
        std::snprintf(message, message_bytes, "%s", error.what());
    } catch (...) {
        std::snprintf(message, message_bytes, "an exception without a message");
    }
    return false;
}

extern "C" {

espl_spm *espl_spm_create(const void *model, size_t bytes, char *message, size_t message_bytes) {
    espl_spm *made = nullptr;
    bool good = guarded(message, message_bytes, [&] {
        made = new espl_spm;
        auto status = made->processor.LoadFromSerializedProto({static_cast<const char *>(model), bytes});
        if (!status.ok()) tell(message, message_bytes, status.ToString());
        return status.ok();
    });
    if (good) return made;
    delete made;
    return nullptr;
}

void espl_spm_destroy(espl_spm *spm) {
    delete spm;
}

int espl_spm_size(const espl_spm *spm) {
    return spm->processor.GetPieceSize();
}

const char *espl_spm_piece(const espl_spm *spm, int id, size_t *out_bytes, enum espl_spm_kind *out_kind) {
    const std::string &piece = spm->processor.IdToPiece(id);
    *out_bytes = piece.size();
    *out_kind = spm->processor.IsUnknown(id)   ? ESPL_SPM_UNKNOWN
                : spm->processor.IsControl(id) ? ESPL_SPM_CONTROL
                : spm->processor.IsByte(id)    ? ESPL_SPM_BYTE
                                               : ESPL_SPM_NORMAL;
    return piece.c_str();
}

int espl_spm_bos(const espl_spm *spm) {
    return spm->processor.bos_id();
}
int espl_spm_eos(const espl_spm *spm) {
    return spm->processor.eos_id();
}
int espl_spm_unk(const espl_spm *spm) {
    return spm->processor.unk_id();
}
int espl_spm_pad(const espl_spm *spm) {
    return spm->processor.pad_id();
}

int espl_spm_encode(const espl_spm *spm, const char *text, size_t bytes,
                    int (*take)(void *user, const int *ids, size_t count), void *user, char *message,
                    size_t message_bytes) {
    int result = -1;
    guarded(message, message_bytes, [&] {
        std::vector<int> ids;
        auto status = spm->processor.Encode({text, bytes}, &ids);
        if (!status.ok()) {
            tell(message, message_bytes, status.ToString());
            return false;
        }
        result = take(user, ids.data(), ids.size());
        return true;
    });
    return result;
}
}
