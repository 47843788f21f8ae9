"""An archive in memory that answers as storage and scheduler do, for tests of what only reads."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef, ObjectRef
from services.cli.connection import Connection
from services.core import arrayfile
from services.core.classmaps import load
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.names import content_id
from services.core.nifti import read_ct
from services.core.rpc.convert import array_ref, geometry_to_proto

CAMPAIGN = "campaigns/first"
MODELS = ("models/unet/versions/1", "models/unetr/versions/1")
Array = npt.NDArray[Any]
Masks = dict[str, Array]


@dataclass
class Archive:
    """Fill it with `add_case` and `add_review`; `connection` is what the code under test gets."""

    objects: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    items: list[sched.CampaignItem] = field(default_factory=list)
    reviews: list[sched.Review] = field(default_factory=list)
    duplicates: list[pb.DuplicateGroup] = field(default_factory=list)
    state: int = sched.Campaign.STATE_ROUND_DONE
    report: sched.CampaignReport = field(default_factory=sched.CampaignReport)

    @property
    def connection(self) -> Connection:
        def one(kind: str) -> Callable[[Any], Any]:
            return lambda request: SimpleNamespace(**{kind: self._record(request.name)})

        rpc = SimpleNamespace(
            GetVolume=one("volume"),
            GetLabelVersion=one("label_version"),
            GetAttentionMap=one("attention_map"),
            GetPrediction=one("prediction"),
            ListDuplicateGroups=lambda asked: SimpleNamespace(
                groups=self.duplicates if asked.show_withdrawn else [], next_page_token=""
            ),
        )
        storage = SimpleNamespace(rpc=rpc, array=self.array, get_file=self.get_file)
        scheduler = SimpleNamespace(
            GetCampaign=lambda _: SimpleNamespace(campaign=self.campaign),
            ListItems=lambda _: SimpleNamespace(
                items=sorted(self.items, key=lambda i: (i.rank or 1000, i.volume)), next_page_token=""
            ),
            GetCampaignReport=lambda _: SimpleNamespace(report=self.report),
            ListReviews=lambda _: SimpleNamespace(reviews=self.reviews, next_page_token=""),
            WatchCampaign=lambda _: iter(self.events()),
        )
        return cast(Connection, SimpleNamespace(storage=storage, scheduler=scheduler))

    @property
    def campaign(self) -> sched.Campaign:
        campaign = sched.Campaign(
            name=CAMPAIGN,
            state=cast(Any, self.state),
            round=1,
            models=MODELS,
            class_map="abdomenatlas-1.0",
            profile="parity",
            review_share=0.2,
            control_share=0.1,
            strategy=sched.Campaign.STRATEGY_PRIORITY,
            volume_count=len(self.items),
            open_review_count=sum(r.state == sched.Review.STATE_OPEN for r in self.reviews),
        )
        campaign.grid.spacing_mm = 1.5
        campaign.create_time.FromSeconds(1_790_000_000)
        return campaign

    def events(self) -> list[sched.WatchCampaignResponse]:
        kinds = sched.CampaignEvent
        story = ((kinds.KIND_ROUND_STARTED, 0), (kinds.KIND_RANKED, 93), (kinds.KIND_ROUND_DONE, 120))
        events = []
        for sequence, (kind, seconds) in enumerate(story, start=1):
            event = sched.CampaignEvent(sequence=sequence, kind=kind, round=1)
            event.time.FromSeconds(1_790_000_000 + seconds)
            events.append(sched.WatchCampaignResponse(event=event, campaign=self.campaign))
        return events

    def add_case(
        self,
        name: str,
        ct: Path,
        ai: Masks,
        source: Masks,
        *,
        heat: tuple[Geometry, Masks] | None = None,
        rank: int = 0,
        dataset: str = "",
    ) -> sched.CampaignItem:
        data = ct.read_bytes()
        read = read_ct(data)
        parent = f"volumes/{name}"
        self.records[parent] = pb.Volume(
            name=parent,
            ct=self.put(data),
            geometry=geometry_to_proto(read.geometry),
            voxel_digest=read.digest(),
            dataset=dataset,
            source_id=name if dataset else "",
            licence="CC-BY-4.0" if dataset else "",
        )
        predictions = [self._prediction(parent, model) for model in MODELS]
        source_version = self.labels(parent, pb.ORIGIN_SOURCE, source, read.geometry, author=dataset) if source else ""
        merged = self.merged(
            parent, read.geometry, [(pb.ORIGIN_AI, ai, ""), (pb.ORIGIN_SOURCE, source, source_version)]
        )
        attention = self._attention(parent, *heat) if heat else ""
        item = sched.CampaignItem(
            volume=parent,
            state=sched.CampaignItem.STATE_READY,
            predictions=predictions,
            attention_map=attention,
            label_version=merged,
            source_organs=sorted(source),
            priority=self.records[attention].priority if attention else 0,
            rank=rank,
        )
        self.items.append(item)
        return item

    def add_review(self, item: sched.CampaignItem, revised: Masks | None = None) -> sched.Review:
        """A review of `item`: open, or done with `revised` organs."""
        review = sched.Review(
            name=f"{CAMPAIGN}/reviews/{len(self.reviews) + 1}",
            state=sched.Review.STATE_OPEN,
            volume=item.volume,
            round=1,
            rank=item.rank,
            priority=item.priority,
            attention_map=item.attention_map,
            label_version=item.label_version,
            organs=[s.organ for s in self.records[item.attention_map].organs],
        )
        if revised is not None:
            old = self.records[item.label_version]
            geometry = self.array(old.masks).geometry
            revision = self.labels(item.volume, pb.ORIGIN_REVISION, revised, geometry, author="Dr. Example")
            layers = [
                (organ.origin, {organ.organ: self.array(old.masks).channel(organ.organ)}, organ.label_version)
                for organ in old.organs
                if organ.organ not in revised
            ]
            result = self.merged(item.volume, geometry, [*layers, (pb.ORIGIN_REVISION, revised, revision)])
            review.MergeFrom(
                sched.Review(
                    state=sched.Review.STATE_DONE,
                    reviewer="Dr. Example",
                    decision=sched.Review.DECISION_REVISED,
                    revision=revision,
                    result=result,
                )
            )
            item.label_version = result
        self.reviews.append(review)
        return review

    def merged(self, parent: str, geometry: Geometry, layers: Sequence[tuple[int, Masks, str]]) -> str:
        """A merged version of (origin, masks, version taken from), later layers first in precedence."""
        chosen: dict[str, tuple[int, Array, str]] = {}
        for origin, masks, version in layers:
            chosen |= {organ: (origin, mask, version) for organ, mask in masks.items()}
        class_map = load()
        organs = [organ for organ in class_map.organs if organ in chosen]
        arrays = [chosen[organ][1].astype(np.uint8) for organ in organs]
        combined = np.zeros(geometry.array_shape, np.uint8)
        for organ, array in zip(organs, arrays, strict=True):
            combined[array > 0] = class_map.id_of(organ)
        labels = pb.LabelVersion(
            origin=pb.ORIGIN_AI,
            masks=self.put_array(organs, arrays, geometry),
            combined=self.put_array(["combined_labels"], [combined], geometry),
            class_map=class_map.name,
            author="precedence",
        )
        for organ, array in zip(organs, arrays, strict=True):
            origin, _, version = chosen[organ]
            predictions = [n for n in self.records if n.startswith(f"{parent}/predictions/")]
            labels.organs.add(
                organ=organ,
                origin=cast(Any, origin),
                label_version=version,
                predictions=predictions if origin == pb.ORIGIN_AI else (),
                voxels=int(array.sum()),
                volume_mm3=float(array.sum()) * geometry.voxel_volume_mm3,
            )
        return self._named(f"{parent}/labels", labels)

    def disagree(self, version: str, organ: str, against: Array) -> None:
        """Say that readers of a merged version's organ disagree: how many say other than its mask, (k, j, i)."""
        labels = self.records[version]
        labels.disagreement.CopyFrom(self.put_array([organ], [against], self.array(labels.masks).geometry))

    def labels(self, parent: str, origin: int, masks: Masks, geometry: Geometry, *, author: str) -> str:
        arrays = [mask.astype(np.uint8) for mask in masks.values()]
        labels = pb.LabelVersion(
            origin=cast(Any, origin),
            masks=self.put_array(list(masks), arrays, geometry),
            class_map="abdomenatlas-1.0",
            author=author,
        )
        for organ, mask in masks.items():
            voxels = int(mask.sum())
            volume_mm3 = voxels * geometry.voxel_volume_mm3
            labels.organs.add(organ=organ, origin=cast(Any, origin), voxels=voxels, volume_mm3=volume_mm3)
        return self._named(f"{parent}/labels", labels)

    def put(self, data: bytes) -> ObjectRef:
        digest = hashlib.sha256(data).hexdigest()
        self.objects[f"objects/{digest}"] = data
        return ObjectRef(name=f"objects/{digest}", sha256=digest, size_bytes=len(data))

    def put_array(self, channels: list[str], arrays: list[Array], geometry: Geometry) -> ArrayRef:
        data = arrayfile.encode(channels, arrays, geometry)
        return array_ref(self.put(data), arrayfile.decode(data))

    def array(self, ref: ArrayRef) -> arrayfile.ArrayFile:
        return arrayfile.decode(self.objects[ref.object.name])

    def get_file(self, ref: ObjectRef, path: Path) -> None:
        path.write_bytes(self.objects[ref.name])

    def _record(self, name: str) -> Any:
        if name not in self.records:
            raise AtlasError(Reason.RESOURCE_NOT_FOUND, "There is none.", field=name)
        return self.records[name]

    def _prediction(self, parent: str, model: str) -> str:
        weights = hashlib.sha256(model.encode()).hexdigest()
        record = pb.Prediction(model=pb.ModelRef(name=model, weights_sha256=weights), class_map="abdomenatlas-1.0")
        return self._named(f"{parent}/predictions", record)

    def _attention(self, parent: str, geometry: Geometry, heat: Masks) -> str:
        record = pb.AttentionMap(
            profile="parity",
            heat=self.put_array(list(heat), list(heat.values()), geometry),
            priority=sum(int((h > 0).sum()) for h in heat.values()),
        )
        for organ, channel in sorted(heat.items(), key=lambda entry: -int(entry[1].sum(dtype=np.int64))):
            if channel.any():
                voxels = int((channel > 0).sum())
                mm3 = voxels * geometry.voxel_volume_mm3
                heat_sum = int(channel.sum(dtype=np.int64))
                record.organs.add(organ=organ, attention_voxels=voxels, attention_mm3=mm3, heat_sum=heat_sum)
        return self._named(f"{parent}/attentionMaps", record)

    def _named(self, collection: str, record: Any) -> str:
        record.name = f"{collection}/{content_id(record.SerializeToString(deterministic=True).hex())}"
        self.records[record.name] = record
        return str(record.name)
