"""Protocol buffer messages that are missing in ``tensorflow-serving-api``."""

from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)


def message_class(file: str, name: str) -> Any:
    """Return the class of a declared message.

    Args:
        file: a ``FileDescriptorProto`` in text format; it may depend on
            google/protobuf/wrappers.proto.
        name: name of the message in it.
    """
    declared = text_format.Parse(file, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(declared)
    descriptor = pool.FindMessageTypeByName(f"{declared.package}.{name}")
    return message_factory.GetMessageClass(descriptor)
